import Foundation
import NIOCore
import Registers
import SQLiteStore
import SyncClient
import SyncProtocol

/// What a ``Comparison`` compares: a server, asked over its protocol, or the registers of a file.
final class Replica {
    struct Digest {
        var digest: String
        var count: UInt64
        var last: Key?
        var isComplete: Bool
    }

    private enum Source {
        case server(SyncConnection, Replies)
        case file([Register])
    }

    private var source: Source
    private let pattern: String
    private var nextID = 0

    private init(_ source: Source, pattern: String) {
        self.source = source
        self.pattern = pattern
    }

    /// Opens the replica at a URL or a path.
    static func with<Result: Sendable>(
        _ place: String, _ way: ConnectionOptions, _ cipher: ValueCipher?, _ pattern: String,
        _ body: @Sendable (Replica) async throws -> Result
    ) async throws -> Result {
        guard place.contains("://") else {
            let wanted = try Pattern(pattern)
            let now = WallTime.now
            var registers: [Register] = []
            let file = DatabaseFile(place, cipher: cipher)
            if let caveat = try file.caveat() { Output.complaint(caveat) }
            try file.forEachRegister { stored in
                if stored.register.isVisible(at: now), wanted.matches(stored.register.key) {
                    registers.append(stored.register)
                }
            }
            return try await body(Replica(.file(registers), pattern: pattern))
        }
        return try await way.open(place) { connection, messages in
            let replies = Replies(messages.makeAsyncIterator())
            return try await body(Replica(.server(connection, replies), pattern: pattern))
        }
    }

    // MARK: Questions

    func digest(after: Key?, through: Key?, limit: Int) async throws -> Digest {
        if case .file(let registers) = source {
            let range = Self.range(of: registers, after: after, through: through)
            var digest = RegisterDigest()
            for register in range.prefix(limit) { digest.add(register) }
            return Digest(
                digest: String(decoding: digest.text, as: UTF8.self), count: digest.count,
                last: range.prefix(limit).last?.key, isComplete: range.count <= limit)
        }
        let answer = try await ask("digest", ["\"limit\":\(limit)"] + Self.fields(after: after, through: through))
        guard let digest = answer.string("digest"), let count = answer.integer("count") else {
            throw ClientError(.protocolViolation, "the server sent a digest without one")
        }
        return Digest(
            digest: digest, count: UInt64(count), last: try answer.string("last").map { try Key($0) },
            isComplete: answer.bool("complete") == true)
    }

    func registers(after: Key?, through: Key?) async throws -> [Key: Register] {
        if case .file(let registers) = source {
            let range = Self.range(of: registers, after: after, through: through)
            return Dictionary(uniqueKeysWithValues: range.map { ($0.key, $0) })
        }
        var found: [Key: Register] = [:]
        var next = after
        while true {
            let answer = try await ask("list", ["\"limit\":1000"] + Self.fields(after: next, through: nil))
            for row in answer.array("registers") ?? [] {
                let register = try Self.register(JSONObject(row))
                if let through, register.key > through { return found }
                found[register.key] = register
            }
            guard let last = answer.string("next") else { return found }
            next = try Key(last)
            if let through, let next, next >= through { return found }
        }
    }

    func register(_ key: Key) async throws -> Register? {
        if case .file(let registers) = source {
            return Self.range(of: registers, after: nil, through: key).last.flatMap { $0.key == key ? $0 : nil }
        }
        let answer = try await ask("get", ["\"key\":\(JSON.quote(key.description))"])
        return answer.bool("found") == true ? try Self.register(answer) : nil
    }

    private func ask(_ type: String, _ fields: [String]) async throws -> JSONObject {
        guard case .server(let connection, var replies) = source else { preconditionFailure("not a server") }
        nextID += 1
        let id = "v\(nextID)"
        let all = ["\"type\":\"\(type)\"", "\"id\":\"\(id)\""] + fields
        let pattern = type == "get" ? [] : ["\"pattern\":\(JSON.quote(pattern))"]
        try await connection.send("{\((all + pattern).joined(separator: ","))}")
        let answer = try await replies.answer(to: id)
        source = .server(connection, replies)
        return answer
    }

    private static func fields(after: Key?, through: Key?) -> [String] {
        [("after", after), ("through", through)].compactMap { name, key in
            key.map { "\"\(name)\":\(JSON.quote($0.description))" }
        }
    }

    /// The registers behind `after` and up to `through`, of some in the order of their keys.
    private static func range(of registers: [Register], after: Key?, through: Key?) -> ArraySlice<Register> {
        /// The index of the first register behind `key`.
        func index(behind key: Key) -> Int {
            var low = 0
            var high = registers.count
            while low < high {
                let middle = (low + high) / 2
                if registers[middle].key > key { high = middle } else { low = middle + 1 }
            }
            return low
        }
        let start = after.map(index(behind:)) ?? 0
        return registers[start..<max(start, through.map(index(behind:)) ?? registers.count)]
    }

    private static func register(_ object: JSONObject) throws -> Register {
        guard let key = object.string("key"), let version = object.string("version") else {
            throw ClientError(.protocolViolation, "the server sent a register without key and version")
        }
        return Register(
            key: try Key(key), version: try Version(version), value: object.raw("value"),
            expiresAt: object.integer("expires_at").map { WallTime(milliseconds: UInt64($0)) },
            metadata: object.raw("metadata"),
            session: object.string("session").map { Array($0.utf8) })
    }
}
