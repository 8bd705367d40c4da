import Registers
import TestSupport
import Testing

/// Records against what they stand for: a key, and up to four byte strings.
struct RecordTests {
    /// What a record is made of.
    private struct Parts: Equatable {
        var key: [UInt8]
        var fields: [Record.Field: [UInt8]] = [:]

        var record: Record {
            let (value, metadata, session, op) = (fields[.value], fields[.metadata], fields[.session], fields[.op])
            return Record(
                key: key.span, value: value?.span, metadata: metadata?.span, session: session?.span, op: op?.span)
        }
    }

    private static func parts(_ random: inout SeededGenerator) -> Parts {
        func bytes(upTo length: Int) -> [UInt8] {
            (0..<Int.random(in: 0...length, using: &random)).map { _ in UInt8.random(in: 0...3, using: &random) }
        }
        var parts = Parts(key: [1] + bytes(upTo: 3))
        for field in Record.Field.allCases where Bool.random(using: &random) { parts.fields[field] = bytes(upTo: 5) }
        return parts
    }

    private static func sign(_ number: Int) -> Int { number.signum() }

    @Test("What is put into a record is in it, no field is another's, and what is absent is not empty")
    func holds() {
        var random = SeededGenerator(seed: 1)
        for _ in 0..<2_000 {
            let parts = Self.parts(&random)
            let record = parts.record
            #expect(record.keyBytes == parts.key && record.keyCount == parts.key.count)
            for field in Record.Field.allCases {
                #expect(record.bytes(of: field) == parts.fields[field])
                #expect(record.has(field) == (parts.fields[field] != nil))
                #expect(record.count(of: field) == parts.fields[field]?.count)
                #expect(record.with(field) { $0.count } == parts.fields[field]?.count)
            }
            #expect(record.count == parts.key.count + parts.fields.values.reduce(0) { $0 + $1.count })
            #expect(record.isBare == parts.fields.isEmpty)
        }
    }

    @Test("A record with another field is what it says, and leaves the first one as it was")
    func replaces() {
        var random = SeededGenerator(seed: 2)
        for _ in 0..<2_000 {
            let parts = Self.parts(&random)
            let record = parts.record
            var other = parts
            guard let field = Record.Field.allCases.randomElement(using: &random) else { return }
            other.fields[field] = Self.parts(&random).fields[field]
            let replaced = record.replacing(field, by: other.fields[field])
            for field in Record.Field.allCases {
                #expect(replaced.bytes(of: field) == other.fields[field])
                #expect(record.bytes(of: field) == parts.fields[field])
            }
            #expect(replaced.hasSameKey(as: record) && replaced.hash == record.hash)
            #expect(record.bare.isBare && record.bare.hasSameKey(as: record) && record.bare.hash == record.hash)
        }
    }

    @Test("Records compare as their parts do, and keys are equal, and hash alike, by their bytes alone")
    func compares() {
        var random = SeededGenerator(seed: 3)
        for _ in 0..<5_000 {
            let (left, right) = (Self.parts(&random), Self.parts(&random))
            let (one, other) = (left.record, right.record)
            #expect(one.hasSameKey(as: other) == (left.key == right.key))
            #expect((Key(one) == Key(other)) == (left.key == right.key))
            #expect(left.key != right.key || Key(one).hashValue == Key(other).hashValue)
            #expect((Key(one) < Key(other)) == left.key.lexicographicallyPrecedes(right.key))
            for field in Record.Field.allCases {
                #expect(one.hasSame(field, as: other) == (left.fields[field] == right.fields[field]))
                let expected = ByteOrder.compare(left.fields[field], right.fields[field])
                #expect(Self.sign(one.compare(field, with: other)) == Self.sign(expected))
            }
        }
    }

    @Test("A key that is kept for long keeps no value in memory, and is the same key")
    func detaches() throws {
        let write = Record(key: Array("k".utf8).span, value: [UInt8](repeating: 1, count: 1_000).span)
        let key = Key(write).detached
        #expect(key == Key(write) && key.record.isBare && key.record.count == 1)
        #expect(try key == Key("k"))
    }
}
