import Foundation
import GRDB
package import Registers
package import SyncEngine
import SyncProtocol

/// What is in a database, and what is wrong with it.
package struct DatabaseCheck: Sendable {
    /// How many registers have a value.
    package var values = 0
    package var tombstones = 0
    /// How many of those with a value expire some day.
    package var expiring = 0
    package var claims = 0
    package var bytes = 0
    package var head: Revision = 0
    package var collectedRevision: Revision = 0
    /// How many rows of the log of revisions are of changes that later ones have taken the place of. They are deleted now and then.
    package var staleRevisions = 0
    package var epoch = ""
    /// What must not be, a sentence each.
    package var problems: [String] = []
    fileprivate var greatestStamp = Stamp.zero

    /// No more than so many problems are listed: a broken file has one in each row.
    private static let maximumProblems = 20

    mutating func note(_ problem: String) {
        if problems.count < Self.maximumProblems {
            problems.append(problem)
        } else if problems.count == Self.maximumProblems {
            problems.append("… and more")
        }
    }
}

extension DatabaseFile {
    /// Checks the file by SQLite's own rules, and what is in it by Starling's.
    ///
    /// - Throws: ``StoreError`` when it cannot be opened at all.
    package func check() throws(StoreError) -> DatabaseCheck {
        do {
            let file = try open()
            // Outside of a transaction, which a damaged page would end.
            let check = try file.queue.unsafeRead {
                try Self.check($0, file.layout, try Meta.seal(forReading: $0, cipher, path: path))
            }
            // A server may have begun to move its rows meanwhile: then what was seen is of no one moment.
            guard try file.queue.read(Schema.layout) == file.layout else {
                throw StoreError("its rows were moved to a newer layout meanwhile; check it again")
            }
            try file.queue.close()
            return check
        } catch {
            throw StoreError("cannot check \(path): \(Self.describe(error))")
        }
    }

    private static func check(_ database: Database, _ layout: Schema.Layout, _ seal: RowSeal?) throws -> DatabaseCheck {
        var check = DatabaseCheck()
        checkTables(database, &check)
        let state: StoreState
        do {
            state = try Meta.state(database, layout)
        } catch {
            check.note("what the database knows of itself cannot be read: \(describe(error))")
            return check
        }
        check.epoch = String(decoding: state.epoch.bytes, as: UTF8.self)
        check.head = state.head
        check.collectedRevision = state.collectedRevision
        switch seal?.accepts {
        case .plain: check.note("it is not encrypted, or not yet: values in it can be anybody's")
        case .older: check.note("it was encrypted by an earlier version, which did not vouch for all of a row")
        case .sealed, nil: break
        }
        let statement = try database.makeStatement(
            sql: "SELECT \(layout.registerColumns) FROM register ORDER BY register.rowid")
        let rows = RowReader(statement, seal: seal)
        defer { rows.reset() }
        var last: Key?
        reading: while true {
            switch rows.nextResult() {
            case .success(let stored?):
                last = stored.register.key
                Self.check(stored, &check)
            case .success(nil): break reading
            case .failure(let error) where error.isRow: check.note(error.description)
            case .failure(let error):
                check.note("reading stopped behind \(last?.description ?? "the start"): \(describe(error))")
                break reading
            }
        }
        if layout == .staying { checkLog(database, &check) }
        Self.checkAnswers(database, seal, &check)
        // Asked for last: a server that is running raises it before it gives a stamp.
        if let bound = try? Meta.state(database, layout).clockBound, check.greatestStamp > bound {
            check.note("the clock's bound is below a stamp that was given, and could be given again")
        }
        return check
    }

    /// Whether the file is whole by SQLite's rules, and its tables are ours.
    private static func checkTables(_ database: Database, _ check: inout DatabaseCheck) {
        do {
            let complaints = try String.fetchCursor(database, sql: "PRAGMA integrity_check(20)")
            while let complaint = try complaints.next() {
                if complaint != "ok" { check.note("SQLite: \(complaint)") }
            }
        } catch {
            check.note("SQLite: \(describe(error))")
        }
        do {
            for difference in try Schema.differences(database) { check.note(difference.text) }
        } catch {
            check.note("its tables cannot be compared: \(describe(error))")
        }
    }

    /// Whether the latest change of each register is in the log.
    private static func checkLog(_ database: Database, _ check: inout DatabaseCheck) {
        do {
            let rows = try Row.fetchCursor(
                database,
                sql: """
                    SELECT register.key, register.revision FROM register LEFT JOIN log ON log.revision = register.revision
                    WHERE log.id IS NOT register.id AND register.revision BETWEEN 1 AND ?1
                    """, arguments: [Meta.maximumCount])
            while let row = try rows.next() {
                check.note(
                    "revision \(row[1] as Int64) of \(row[0] as String) is not in the log: who catches up is not told of it"
                )
            }
            check.staleRevisions =
                try Int.fetchOne(
                    database, sql: "SELECT (SELECT count(*) FROM log) - (SELECT count(*) FROM register)") ?? 0
        } catch {
            check.note("the log of revisions cannot be read: \(describe(error))")
        }
    }

    /// Whether each answer that is kept is one.
    private static func checkAnswers(_ database: Database, _ seal: RowSeal?, _ check: inout DatabaseCheck) {
        do {
            // An older database has none.
            guard try database.tableExists("answer") else { return }
            let rows = try Row.fetchCursor(database, sql: "SELECT bearer, op, answered_at, answer, key_id FROM answer")
            while let row = try rows.next() {
                let answer = SealedAnswer(
                    bearer: Array(row["bearer"] as Data), op: Array((row["op"] as String).utf8),
                    answeredAt: row["answered_at"], keyID: row["key_id"])
                let bytes = Array(row["answer"] as Data)
                if seal?.hasKey(of: answer) == false { continue }
                guard let text = try? seal?.open(answer, bytes) ?? bytes, KeptAnswer.isValid(text) else {
                    check.note("an answer that is kept for an op is none of Starling's")
                    continue
                }
            }
        } catch {
            check.note("the answers that are kept cannot be read: \(describe(error))")
        }
    }

    private static func check(_ stored: StoredRegister, _ check: inout DatabaseCheck) {
        let register = stored.register
        let key = register.key
        if (try? Key(key.bytes)) == nil { check.note("revision \(stored.revision) has a key that is none") }
        check.greatestStamp = max(check.greatestStamp, register.version.stamp)
        if stored.fence > WriteJudge.maximumFence { check.note("the fence of \(key) is none that was ever given") }
        if let metadata = register.metadata, !isJSON(metadata) { check.note("the metadata of \(key) are no JSON") }
        if let value = register.value {
            check.values += 1
            check.bytes += value.count
            if register.expiresAt != nil { check.expiring += 1 }
            if stored.binding?.isExclusive == true { check.claims += 1 }
            if !isJSON(value) { check.note("the value of \(key) is no JSON") }
            if register.cause != nil { check.note("\(key) has a value, and a cause for having none") }
        } else {
            check.tombstones += 1
            if stored.binding != nil { check.note("\(key) is deleted, and claimed") }
        }
    }

    private static func isJSON(_ text: [UInt8]) -> Bool {
        var scanner = JSONScanner(maximumDepth: JSONScanner.maximumServerDepth)
        guard (try? scanner.skipValue(text.span)) != nil else { return false }
        return scanner.position == text.count && String(validating: text, as: UTF8.self) != nil
    }
}
