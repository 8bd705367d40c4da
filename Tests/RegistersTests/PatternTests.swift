import Registers
import TestSupport
import Testing

struct PatternTests {
    private struct File: Decodable {
        struct Match: Decodable {
            var pattern: String
            var key: String
            var matches: Bool
        }
        struct Invalid: Decodable {
            var pattern: String
            var reason: String
        }
        var matches: [Match]
        var invalid: [Invalid]
    }

    @Test("Patterns match as the vectors say")
    func vectors() throws {
        let file = try Vectors.load("patterns", as: File.self)
        for vector in file.matches {
            let matches = try Pattern(vector.pattern).matches(Key(vector.key))
            #expect(matches == vector.matches, "\(vector.pattern) over \(vector.key)")
        }
        for vector in file.invalid {
            #expect(throws: PatternError.self, "\(vector.pattern): \(vector.reason)") { try Pattern(vector.pattern) }
        }
    }

    @Test("A pattern matches what a brute-force matcher says it does", arguments: 0..<20)
    func bruteForce(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        for _ in 0..<500 {
            let text = random.text("ab:*?\\é", upTo: 8)
            guard let pattern = try? Pattern(text), let key = try? Key(random.text("ab:é*", upTo: 9)) else { continue }
            let expected = BruteForce.matches(Array(text), Array(key.description))
            #expect(pattern.matches(key) == expected, "seed \(seed): \(text) over \(key)")
        }
    }

    @Test("The shape of a pattern says how to look it up")
    func shapes() throws {
        #expect(try Pattern("a:b").shape == .exact(Array("a:b".utf8)))
        #expect(try Pattern("a\\*").shape == .exact(Array("a*".utf8)))
        #expect(try Pattern("a:*").shape == .prefix(Array("a:".utf8)))
        #expect(try Pattern("a:**").shape == .prefix(Array("a:".utf8)))
        #expect(try Pattern("*").shape == .prefix([]))
        #expect(try Pattern("a:*:c").shape == .general(literalPrefix: Array("a:".utf8)))
        #expect(try Pattern("?*").shape == .general(literalPrefix: []))
    }

    @Test("A match of the longest pattern and key ends soon enough to be tested")
    func worstCase() throws {
        let pattern = try Pattern(String(repeating: "**a", count: 16) + String(repeating: "a", count: 400) + "b")
        let key = try Key(String(repeating: "a", count: Key.maximumLength))
        #expect(!pattern.matches(key))
    }

    @Test("Sixteen wildcards are allowed")
    func wildcards() throws {
        let pattern = try Pattern(String(repeating: "?", count: 16))
        #expect(pattern.matches(try Key("abcdefghijklmnop")))
    }

    @Test("A matcher says of every key what the pattern does", arguments: 0..<60)
    func matcher(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        for _ in 0..<200 {
            // Some long ones: the states of a matcher take several words.
            let length = Int.random(in: 0..<8, using: &random) == 0 ? 300 : 9
            guard let pattern = try? Pattern(random.text("ab:*?\\é€", upTo: length)) else { continue }
            let matcher = Pattern.Matcher(pattern)
            for _ in 0..<20 {
                let text =
                    Bool.random(using: &random)
                    ? pattern.description.replacing("**", with: "a:b").replacing("*", with: "é")
                    : random.text("ab:*?é€", upTo: 12)
                guard let key = try? Key(String(text.replacing("?", with: "€"))) else { continue }
                #expect(matcher.matches(key) == pattern.matches(key), "seed \(seed): \(pattern) \(key)")
            }
        }
    }

    @Test("What a matcher costs goes by what is behind the first wildcard")
    func cost() throws {
        for (text, cost) in [
            ("a", 0), ("a:*", 0), ("**", 0), ("a?", 1), ("**:x", 1), ("a:*:" + String(repeating: "b", count: 62), 1),
            ("a:*:" + String(repeating: "b", count: 63), 2),
        ] {
            #expect(Pattern.Matcher(try Pattern(text)).cost == cost, "\(text)")
        }
    }
}

/// The grammar of patterns, said as plainly as can be.
private enum BruteForce {
    static func matches(_ pattern: [Character], _ key: [Character]) -> Bool {
        guard let first = pattern.first else { return key.isEmpty }
        let rest = Array(pattern.dropFirst())
        switch first {
        case "\\":
            return key.first == rest.first && matches(Array(rest.dropFirst()), Array(key.dropFirst()))
        case "?":
            return key.first.map { $0 != ":" } == true && matches(rest, Array(key.dropFirst()))
        case "*":
            let isDouble = rest.first == "*"
            let behind = isDouble ? Array(rest.dropFirst()) : rest
            if behind.isEmpty { return true }
            for length in 0...key.count {
                if !isDouble, key.prefix(length).contains(":") { return false }
                if matches(behind, Array(key.dropFirst(length))) { return true }
            }
            return false
        default:
            return key.first == first && matches(rest, Array(key.dropFirst()))
        }
    }
}
