import Registers
import SyncProtocol

/// What a client holds of a pattern, kept by the merge rule, with a note of everything that must never happen.
struct Replica {
    private(set) var registers: [Key: Register] = [:]
    /// The greatest register seen on the connection under way, by key.
    private var seen: [Key: Register] = [:]
    private(set) var problems: [String] = []

    /// A new connection begins: what comes on it may start anywhere, but then only rises.
    mutating func connected() { seen = [:] }

    mutating func apply(_ update: JSONObject) throws {
        guard let keyText = update.string("key"), let versionText = update.string("version") else {
            throw TestFailure("an update without key or version: \(update)")
        }
        let key = try Key(keyText)
        let register = Register(
            key: key, version: try Version(versionText),
            value: update.bool("deleted") == true ? nil : update.raw("value"),
            expiresAt: update.integer("expires_at").map { WallTime(milliseconds: UInt64($0)) },
            metadata: update.raw("metadata"),
            session: update.string("session").map { Array($0.utf8) })
        if let last = seen[key], Register.compare(register, last) < 0 {
            problems.append("\(key) went back from \(last.version) to \(register.version)")
        }
        seen[key] = register
        if Register.merge(register, into: registers[key]) == .applied { registers[key] = register }
    }

    /// The values by key, without what is deleted.
    var state: [String: String] {
        registers.reduce(into: [:]) { state, entry in
            guard let value = entry.value.value else { return }
            state[entry.key.description] = "\(entry.value.version) \(String(decoding: value, as: UTF8.self))"
        }
    }
}
