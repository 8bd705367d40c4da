import Registers
import TestSupport
import Testing

struct MergeTests {
    private struct File: Decodable {
        struct Fields: Decodable {
            var version: String
            var value: String?
            var deleted: Bool?
            var expires_at: UInt64?
            var metadata: String?
            var session: String?
            var cause: String?

            func register() throws -> Register {
                Register(
                    key: try Key("k"), version: try Version(version), value: value.map { Array($0.utf8) },
                    expiresAt: expires_at.map { WallTime(milliseconds: $0) }, metadata: metadata.map { Array($0.utf8) },
                    session: session.map { Array($0.utf8) }, cause: cause.flatMap(Register.Cause.init(rawValue:)))
            }
        }
        struct Case: Decodable {
            var name: String
            var less: Fields
            var greater: Fields
        }
        struct Same: Decodable {
            var name: String
            var a: Fields
            var b: Fields
        }
        var cases: [Case]
        var same: [Same]
    }

    @Test("The greater register wins, whichever comes first")
    func vectors() throws {
        let file = try Vectors.load("merges", as: File.self)
        for vector in file.cases {
            let less = try vector.less.register()
            let greater = try vector.greater.register()
            #expect(Register.merge(greater, into: less) == .applied, "\(vector.name)")
            #expect(Register.merge(less, into: greater) == .superseded, "\(vector.name)")
        }
        for vector in file.same {
            #expect(try Register.merge(vector.a.register(), into: vector.b.register()) == .duplicate, "\(vector.name)")
        }
    }

    @Test("Merging is a maximum of a total order: commutative, associative, idempotent", arguments: 0..<10)
    func laws(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let registers = try (0..<24).map { _ in try Self.register(&random) }
        func greater(_ left: Register, _ right: Register) -> Register {
            Register.merge(right, into: left) == .applied ? right : left
        }
        func isSame(_ left: Register, _ right: Register) -> Bool { Register.compare(left, right) == 0 }
        for a in registers {
            #expect(Register.merge(a, into: a) == .duplicate)
            #expect(Register.merge(a, into: nil) == .applied)
            for b in registers {
                #expect(Register.compare(a, b).signum() == -Register.compare(b, a).signum())
                #expect(isSame(greater(a, b), greater(b, a)), "seed \(seed)")
                for c in registers {
                    #expect(isSame(greater(greater(a, b), c), greater(a, greater(b, c))), "seed \(seed)")
                }
            }
        }
    }

    @Test("Replicas that get the same registers in any order, with repeats, end with the same one", arguments: 0..<10)
    func convergence(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let registers = try (0..<12).map { _ in try Self.register(&random) }
        var ends: [Register] = []
        for _ in 0..<20 {
            var replica: Register?
            for register in (registers + registers.prefix(4)).shuffled(using: &random)
            where Register.merge(register, into: replica) == .applied {
                replica = register
            }
            if let replica { ends.append(replica) }
        }
        #expect(ends.allSatisfy { Register.compare($0, ends[0]) == 0 }, "seed \(seed)")
    }

    @Test("Replicas that expire a register by themselves end with the same tombstone, which the value cannot undo")
    func expiry() throws {
        let register = Register(
            key: try Key("k"), version: try Version("018bcfe56800-0000-a"), value: Array("1".utf8), expiresAt: 1_000,
            metadata: Array("{}".utf8))
        #expect(register.isVisible(at: 999) && !register.isVisible(at: 1_000))
        #expect(Register.merge(register.expired, into: register) == .applied)
        #expect(Register.merge(register, into: register.expired) == .superseded)
        #expect(Register.merge(register.expired, into: register.expired) == .duplicate)
        #expect(register.expired.cause == .expired)
    }

    @Test("Replicas that sweep at different times agree", arguments: 0..<40)
    func sweeps(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let registers = try (0..<10).map { _ in try Self.register(&random) }
        var ends: [Register?] = []
        for _ in 0..<12 {
            var replica: Register?
            var now: WallTime = 0
            for register in registers.shuffled(using: &random) {
                if Register.merge(register, into: replica) == .applied { replica = register }
                // Each replica looks at the clock when it comes to it.
                now = now + UInt64.random(in: 0...2, using: &random)
                if let held = replica, !held.isTombstone, held.isExpired(at: now) { replica = held.expired }
            }
            if let held = replica, !held.isTombstone, held.isExpired(at: 10) { replica = held.expired }
            ends.append(replica)
        }
        for end in ends {
            let (end, first) = (try #require(end), try #require(ends[0]))
            #expect(Register.compare(end, first) == 0, "seed \(seed)")
        }
    }

    private static func register(_ random: inout SeededGenerator) throws -> Register {
        func maybe(_ texts: [String]) -> [UInt8]? {
            let text = texts.randomElement(using: &random) ?? ""
            return text.isEmpty ? nil : Array(text.utf8)
        }
        let stamp = Stamp(
            milliseconds: UInt64.random(in: 1...2, using: &random), counter: UInt16.random(in: 0...1, using: &random))
        return Register(
            key: try Key("k"),
            version: Version(stamp: stamp, agent: try Agent(["a", "b"].randomElement(using: &random) ?? "a")),
            value: maybe(["", "1", "2", "10"]), expiresAt: [nil, 5, 6].randomElement(using: &random) ?? nil,
            metadata: maybe(["", "{}", "{\"a\":1}"]), session: maybe(["", "s", "t"]))
    }
}
