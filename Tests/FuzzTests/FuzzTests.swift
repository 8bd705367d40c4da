import Foundation
import FuzzTargets
import TestSupport
import Testing

/// What the fuzzer has found and kept, run again, and what a few seeded changes make of it.
struct FuzzTests {
    private static func corpus(_ target: FuzzTarget) throws -> [[UInt8]] {
        let folder = Repository.file("Fuzzing/Corpus/\(target.rawValue)")
        return try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted().map {
            Array(try Data(contentsOf: folder.appending(path: $0)))
        }
    }

    @Test("Nothing in the corpus, nor what is close to it, breaks a parser", arguments: FuzzTarget.allCases)
    func replay(target: FuzzTarget) throws {
        let inputs = try Self.corpus(target)
        #expect(inputs.count >= 5)
        var random = SeededGenerator(seed: 1)
        for input in inputs {
            target.run(input)
            for _ in 0..<40 {
                var changed = input
                for _ in 0..<Int.random(in: 1...4, using: &random) {
                    let place = Int.random(in: 0...changed.count, using: &random)
                    switch Int.random(in: 0..<3, using: &random) {
                    case 0: changed.insert(UInt8.random(in: 0...255, using: &random), at: place)
                    case 1 where place < changed.count: changed.remove(at: place)
                    case 2 where place < changed.count: changed[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
                    default: changed = Array(changed.prefix(place))
                    }
                }
                target.run(changed)
            }
        }
    }
}
