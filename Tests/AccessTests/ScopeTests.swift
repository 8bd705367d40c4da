import Access
import Registers
import TestSupport
import Testing

struct ScopeTests {
    private static func patterns(_ texts: [String]) throws -> [Pattern] {
        try texts.map { try Pattern($0) }
    }

    @Test("A scope admits what one of its patterns matches, and a narrowed one what both do")
    func admits() throws {
        let scope = Scope(matching: try Self.patterns(["task:*", "config"]))
        #expect(try scope.admits(Key("task:1:status")))
        #expect(try scope.admits(Key("config")))
        #expect(try !scope.admits(Key("config:secret")))
        let narrowed = scope.narrowed(by: Scope(matching: try Self.patterns(["**:status"])))
        #expect(try narrowed.admits(Key("task:1:status")))
        #expect(try !narrowed.admits(Key("task:1")))
        #expect(try !Scope.nothing.admits(Key("a")))
        #expect(try Scope.everything.admits(Key("a")))
        #expect(Scope(matching: try Self.patterns(["a", "*"])) == .everything)
    }

    @Test("A filter matches what pattern and scope do, and all of it is in its ranges", arguments: 0..<40)
    func filters(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        func pattern() -> Pattern {
            while true {
                if let pattern = try? Pattern(random.text("ab:*?", upTo: 5)) { return pattern }
            }
        }
        for _ in 0..<200 {
            let asked = pattern()
            let first = (0..<Int.random(in: 0...3, using: &random)).map { _ in pattern() }
            var scope = Scope(matching: first)
            var second: [Pattern]?
            if Bool.random(using: &random) {
                second = [pattern(), pattern()]
                scope = scope.narrowed(by: Scope(matching: second ?? []))
            }
            let filter = Filter(asked, within: scope)
            for _ in 0..<30 {
                guard let key = try? Key(random.text("ab:", upTo: 5)) else { continue }
                // What the words say, without any of the short cuts.
                let isAllowed =
                    first.contains { $0.matches(key) } && second?.contains { $0.matches(key) } ?? true
                let expected = asked.matches(key) && isAllowed
                #expect(
                    filter.matches(key) == expected, "seed \(seed): \(asked) within \(first), \(second ?? []): \(key)")
                let places = filter.ranges.count { Self.contains($0, key) }
                #expect(places <= 1, "ranges overlap")
                if expected { #expect(places == 1, "seed \(seed): \(asked) within \(first): \(key)") }
                // Whatever is in the ranges and may be named is allowed.
                if places == 1, filter.mayName(key), !asked.matches(key) || !isAllowed {
                    #expect(isAllowed, "seed \(seed): \(key) is named by \(asked) within \(first), \(second ?? [])")
                }
            }
            #expect(
                filter.ranges.map(\.start) == filter.ranges.map(\.start).sorted { $0.lexicographicallyPrecedes($1) })
        }
    }

    private static func contains(_ range: KeyRange, _ key: Key) -> Bool {
        range.isExact ? key.bytes == range.start : key.bytes.starts(with: range.start)
    }

    @Test("A scope that covers a pattern leaves it as it is: those with other grants share its updates")
    func covered() throws {
        let pattern = try Pattern("task:42:*")
        let filter = Filter(pattern, within: Scope(matching: try Self.patterns(["task:*", "x"])))
        #expect(filter == Filter(pattern) && !filter.isRestricted && filter.digest == Filter(pattern).digest)
        let restricted = Filter(try Pattern("*"), within: Scope(matching: try Self.patterns(["task:*"])))
        #expect(try restricted.isRestricted && restricted.digest != Filter(Pattern("*")).digest)
        #expect(restricted.ranges.map(\.start) == [Array("task:".utf8)])
    }

    @Test("The digests of filters tell patterns and scopes apart")
    func digests() throws {
        let (a, b, all) = (try Pattern("a*"), try Pattern("b*"), try Pattern("*"))
        #expect(Filter(a).digest != Filter(b).digest)
        #expect(Filter(a).digest == Filter(a).digest)
        #expect(
            Filter(all, within: Scope(matching: [a])).digest != Filter(all, within: Scope(matching: [b])).digest)
    }
}

struct RateLimitTests {
    @Test("Messages pass at their rate, and those above it are told how long to wait")
    func messages() {
        var limit = RateLimit(.init(messages: 10))
        let first = (0..<20).map { _ in limit.take(bytes: 1, now: 1_000) }
        #expect(first.prefix(10).allSatisfy { $0 == nil })
        #expect(first.dropFirst(10).allSatisfy { $0 != nil })
        #expect(limit.take(bytes: 1, now: 1_050) != nil)
        #expect(limit.take(bytes: 1, now: 1_101) == nil)
        #expect(limit.take(bytes: 1, now: 1_102) != nil)
    }

    @Test("A message greater than a second's bytes passes, and is paid for by those after it")
    func bytes() {
        var limit = RateLimit(.init(bytes: 1_000))
        #expect(limit.take(bytes: 5_000, now: 0) == nil)
        let wait = limit.take(bytes: 1, now: 0)
        #expect(wait == 4_001)
        #expect(limit.take(bytes: 1, now: 4_000) != nil)
        #expect(limit.take(bytes: 1, now: 4_001) == nil)
    }

    @Test("Whoever waits as long as told is let through", arguments: 0..<20)
    func waits(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        var limit = RateLimit(
            .init(messages: Int.random(in: 1...1_000, using: &random), bytes: Int.random(in: 1...1_000, using: &random))
        )
        var now: WallTime = 1
        for _ in 0..<200 {
            if let wait = limit.take(bytes: Int.random(in: 0...5_000, using: &random), now: now) {
                now = now + wait
                #expect(limit.take(bytes: 0, now: now) == nil, "seed \(seed)")
            }
        }
    }

    @Test("A clock that is set back fills nothing and takes nothing away")
    func backwards() {
        var limit = RateLimit(.init(messages: 1))
        #expect(limit.take(bytes: 0, now: 10_000) == nil)
        #expect(limit.take(bytes: 0, now: 5_000) != nil)
        #expect(limit.take(bytes: 0, now: 11_001) == nil)
    }
}
