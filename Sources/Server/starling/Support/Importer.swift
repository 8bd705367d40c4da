import Foundation
import Registers
import SQLiteStore
import SyncEngine
import SyncProtocol

/// Merges registers into a database that no server has open, by the same rules as a server does.
struct Importer {
    struct Tally {
        var applied = 0
        var same = 0
        var older = 0
        var refusals: [String] = []
    }

    private static let maximumRows = 1_000
    /// In bytes, about.
    private static let maximumSize = 4 << 20
    private static let origin = Origin(loop: 0, connection: ConnectionID(slot: 0, generation: 0))
    /// How far ahead a version may be, in milliseconds: the clock moves there, and the greatest stamp has none above it.
    private static let maximumLead: UInt64 = 10 * 366 * 86_400_000

    private let database: SQLiteDatabase
    private var committer: Committer<SQLiteWriter, NoRules>
    private var requests: [WriteRequest] = []
    /// What came with versions since the last of those: it is merged as it is, and together.
    private var registers: [Register] = []
    /// How many lines wait, and how many bytes of them.
    private var rows = 0
    private var size = 0
    private let agent: Agent
    private(set) var tally = Tally()

    init(_ file: DatabaseFile) throws {
        var random = SystemRandomNumberGenerator()
        database = try SQLiteDatabase(
            .init(path: file.path, cipher: file.cipher), now: WallTime.now, random: &random,
            migrating: Output.migration(of: file.path))
        committer = Committer(
            store: try database.makeWriter(), state: database.state, loops: 1, maximumDrift: 60_000,
            cacheSize: 16 << 20, rules: NoRules(), framing: { _, _ in })
        agent = Agent(random: random.next())
    }

    /// - Throws: what is wrong with the line.
    mutating func add(_ object: JSONObject) throws {
        guard let keyText = object.string("key") else { throw StoreError("it has no \"key\" that is a text") }
        let key = try Key(keyText)
        for (index, member) in object.members.enumerated()
        where object.members[..<index].contains(where: { $0.name == member.name }) {
            throw StoreError("it has \"\(member.name)\" twice")
        }
        let isDeleted = object.bool("deleted") == true
        if isDeleted, let value = object.raw("value"), value != Array("null".utf8) {
            throw StoreError("it has a \"value\", and \"deleted\" as well")
        }
        let value = isDeleted ? nil : try ExportLine.text("value", of: object)
        if value == nil, !isDeleted { throw StoreError("it has no \"value\"") }
        if isDeleted, object.raw("ttl") != nil { throw StoreError("it has a \"ttl\", and \"deleted\" as well") }
        if !isDeleted, object.string("cause") != nil {
            throw StoreError("it has a \"cause\" for having no value, and a value")
        }
        let (metadata, session) = try attributes(of: object)
        if let text = object.string("version") {
            let version = try Version(text)
            guard version.stamp.milliseconds <= (WallTime.now + Self.maximumLead).milliseconds else {
                tally.refusals.append("\(key): version \(text) is more than ten years ahead")
                return
            }
            let register = Register(
                key: key, version: version, value: value,
                expiresAt: try expiry(object), metadata: metadata,
                session: session, cause: object.string("cause").flatMap(Register.Cause.init(rawValue:)))
            registers.append(register)
        } else {
            for field in ["expires_at", "timestamp"] where object.raw(field) != nil {
                throw StoreError("it has \"\(field)\" and no \"version\" that it could be of; \"ttl\" starts now")
            }
            var write = ClientMessage.Write(key: key, value: value, metadata: metadata, session: session)
            write.timeToLive = try timeToLive(object)
            // Lines take effect in their order.
            replicate()
            requests.append(WriteRequest(write: write, agent: agent, origin: Self.origin))
        }
        rows += 1
        size += value?.count ?? 0
        if rows >= Self.maximumRows || size >= Self.maximumSize { commit() }
    }

    /// What travels along with a value.
    private func attributes(of object: JSONObject) throws -> (metadata: [UInt8]?, session: [UInt8]?) {
        let metadata = try ExportLine.text("metadata", of: object)
        if let metadata,
            metadata.count > ClientMessageDecoder.maximumMetadataSize || metadata.first != UInt8(ascii: "{")
        {
            throw StoreError(
                "\"metadata\" is an object of at most \(ClientMessageDecoder.maximumMetadataSize >> 10) KiB")
        }
        let session = object.string("session").map { Array($0.utf8) }
        if let session, !(1...128).contains(session.count) { throw StoreError("\"session\" has 1 to 128 bytes") }
        return (metadata, session)
    }

    private func expiry(_ object: JSONObject) throws -> WallTime? {
        guard let text = object.raw("expires_at"), text != Array("null".utf8) else { return nil }
        guard let milliseconds = object.integer("expires_at"), milliseconds >= 0 else {
            throw StoreError("\"expires_at\" is in milliseconds since 1970")
        }
        return WallTime(milliseconds: UInt64(milliseconds))
    }

    private func timeToLive(_ object: JSONObject) throws -> UInt64? {
        guard let text = object.raw("ttl") else { return nil }
        let limit = Double(ClientMessageDecoder.maximumTimeToLive)
        guard let seconds = Double(String(decoding: text, as: UTF8.self)), seconds > 0, seconds * 1_000 <= limit else {
            throw StoreError("\"ttl\" is in seconds, more than 0")
        }
        return UInt64((seconds * 1_000).rounded(.up))
    }

    /// Commits what is left, and closes the database.
    mutating func finish() {
        commit()
        do throws(StoreError) {
            try database.close(lastStamp: committer.lastStamp)
        } catch {
            tally.refusals.append(error.description)
        }
    }

    private mutating func replicate() {
        guard !registers.isEmpty else { return }
        requests.append(WriteRequest(action: .replicate(registers, id: nil), agent: agent, origin: Self.origin))
        registers = []
    }

    private mutating func commit() {
        replicate()
        (rows, size) = (0, 0)
        guard !requests.isEmpty else { return }
        let before = committer.head
        let (commit, _) = committer.commit(requests, now: WallTime.now)
        requests = []
        for result in commit.results[0] {
            switch result.outcome {
            case .applied(_, let revision, _, _) where revision > before: tally.applied += 1
            case .applied: tally.same += 1
            case .superseded: tally.older += 1
            case .replicated(let receipt):
                tally.applied += receipt.applied
                tally.same += receipt.same
                tally.older += receipt.superseded
                for refusal in receipt.refused { tally.refuse(refusal.key, refusal.error) }
            case .refused(let error): tally.refuse(result.key, error)
            default: preconditionFailure("\(result.outcome) is no outcome of a write or a merge")
            }
        }
    }
}

extension Importer.Tally {
    fileprivate mutating func refuse(_ key: Key?, _ error: WireError) {
        refusals.append("\(key.map { "\($0): " } ?? "")\(error.message)")
    }
}
