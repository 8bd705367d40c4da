import ArgumentParser
import Foundation
import Registers
import SyncProtocol

/// `starling verify`
struct Verify: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Compare two servers, or a server and a file, and name the keys that differ.",
        discussion: """
            Compares what reads see, range by range, by digests; where those differ, key by key. What differs is looked at \
            once more after a while, since writes may be on their way. Each line is a key and the two versions. Exits with 1 \
            when something differs.

              starling verify ws://127.0.0.1:7827/sync ws://127.0.0.1:7828/sync
              starling verify ws://127.0.0.1:7827/sync nightly.db --pattern 'task:*'
            """)

    @Argument(help: "A server's URL, or a database's file.")
    var left: String

    @Argument(help: "Another one.")
    var right: String

    @Option(help: "Only keys that match this pattern.")
    var pattern: String = "*"

    @Option(help: ArgumentHelp("How long to wait before what differs is looked at again.", valueName: "seconds"))
    var settle: Double = 1

    @OptionGroup var way: ConnectionOptions

    @OptionGroup var encryption: EncryptionKeyOption

    func run() async throws {
        let way = way
        let cipher = try encryption.cipher()
        _ = try Pattern(typed: pattern)
        let pattern = pattern
        let settle = settle
        let rightPlace = right
        let (differences, count) = try await Replica.with(left, way, cipher, pattern) { left in
            nonisolated(unsafe) let left = left
            return try await Replica.with(rightPlace, way, cipher, pattern) { right in
                var comparison = Comparison(left: left, right: right)
                try await comparison.run()
                if !comparison.differences.isEmpty {
                    try await Task.sleep(for: .seconds(settle))
                    try await comparison.lookAgain()
                }
                return (comparison.differences, comparison.count)
            }
        }
        for difference in differences {
            Output.line("\(difference.key)\t\(difference.left ?? "absent")\t\(difference.right ?? "absent")")
        }
        Output.complaint(
            differences.isEmpty
                ? "\(count) registers are the same"
                : "\(differences.count == 1 ? "1 key differs" : "\(differences.count) keys differ"); \(left) has \(count) registers"
        )
        if !differences.isEmpty { throw ExitCode(1) }
    }
}

/// A comparison of two replicas.
struct Comparison {
    struct Difference {
        var key: Key
        var left: String?
        var right: String?
    }

    let left: Replica
    let right: Replica
    private(set) var differences: [Difference] = []
    /// How many registers the left one has.
    private(set) var count: UInt64 = 0
    private var progress = Progress("verify")

    init(left: Replica, right: Replica) {
        self.left = left
        self.right = right
    }

    mutating func run() async throws {
        var after: Key?
        var isAtEnd = false
        while !isAtEnd {
            let mine = try await left.digest(after: after, through: nil, limit: 1_000)
            // Without an end on the left, whatever the right one has behind it counts too.
            let through = mine.isComplete ? nil : mine.last
            let theirs = try await right.digest(after: after, through: through, limit: 10_000)
            if mine.digest != theirs.digest || mine.count != theirs.count || !theirs.isComplete {
                try await compare(after: after, through: through)
            }
            count += mine.count
            progress.show("\(count) registers, \(differences.count) differ")
            isAtEnd = mine.isComplete
            after = through
        }
        progress.clear()
    }

    private mutating func compare(after: Key?, through: Key?) async throws {
        let mine = try await left.registers(after: after, through: through)
        let theirs = try await right.registers(after: after, through: through)
        for key in Set(mine.keys).union(theirs.keys).sorted() where !Self.isSame(mine[key], theirs[key]) {
            differences.append(Self.difference(key, mine[key], theirs[key]))
        }
    }

    /// Keeps of the differences those that are still there.
    mutating func lookAgain() async throws {
        var left: [Difference] = []
        for difference in differences {
            let mine = try await self.left.register(difference.key)
            let theirs = try await right.register(difference.key)
            if !Self.isSame(mine, theirs) { left.append(Self.difference(difference.key, mine, theirs)) }
        }
        differences = left
    }

    private static func isSame(_ left: Register?, _ right: Register?) -> Bool {
        guard let left, let right else { return left == nil && right == nil }
        return Register.compare(left, right) == 0
    }

    private static func difference(_ key: Key, _ left: Register?, _ right: Register?) -> Difference {
        Difference(key: key, left: left?.version.description, right: right?.version.description)
    }
}
