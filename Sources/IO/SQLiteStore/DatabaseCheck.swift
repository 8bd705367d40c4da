import GRDB
import Registers
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
    package var head: UInt64 = 0
    package var collectedRevision: UInt64 = 0
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
            let queue = try open()
            // Outside of a transaction, which a damaged page would end.
            let check = try queue.unsafeRead { try Self.check($0, try Meta.seal(forReading: $0, cipher, path: path)) }
            try queue.close()
            return check
        } catch {
            throw StoreError("cannot check \(path): \(Self.describe(error))")
        }
    }

    private static func check(_ database: Database, _ seal: RowSeal?) throws -> DatabaseCheck {
        var check = DatabaseCheck()
        do {
            let complaints = try String.fetchCursor(database, sql: "PRAGMA integrity_check(20)")
            while let complaint = try complaints.next() {
                if complaint != "ok" { check.note("SQLite: \(complaint)") }
            }
        } catch {
            check.note("SQLite: \(describe(error))")
        }
        checkSchema(database, &check)
        let state: StoreState
        do {
            state = try Meta.state(database)
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
            sql: "SELECT \(Schema.registerColumns) FROM register ORDER BY revision")
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
        // Asked for last: a server that is running raises it before it gives a stamp.
        if let bound = try? Meta.state(database).clockBound, check.greatestStamp > bound {
            check.note("the clock's bound is below a stamp that was given, and could be given again")
        }
        return check
    }

    /// What is in the file beside our tables and indexes, and what of them is missing: a trigger changes what a write does, and without
    /// its index a key can be there twice.
    private static func checkSchema(_ database: Database, _ check: inout DatabaseCheck) {
        do {
            let ours = try DatabaseQueue()
            try Schema.migrator.migrate(ours)
            let expected = try ours.read { try schema($0) }
            let found = try schema(database)
            for (name, sql) in found.sorted(by: { $0.key < $1.key }) where expected[name] != sql {
                check.note(
                    expected[name] == nil
                        ? "there is \(name), which is none of Starling's" : "\(name) is not what Starling made")
            }
            for name in expected.keys.sorted() where found[name] == nil { check.note("\(name) is missing") }
        } catch {
            check.note("its tables cannot be compared: \(describe(error))")
        }
    }

    /// The statements that made all tables, indexes, triggers and views, by kind and name. What SQLite makes by itself has none.
    private static func schema(_ database: Database) throws -> [String: String] {
        let rows = try Row.fetchAll(
            database,
            sql:
                "SELECT type || ' ' || name AS name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite!_%' ESCAPE '!'"
        )
        return Dictionary(rows.map { ($0["name"], $0["sql"]) }) { first, _ in first }
    }

    private static func check(_ stored: StoredRegister, _ check: inout DatabaseCheck) {
        let register = stored.register
        let key = register.key
        if (try? Key(key.bytes)) == nil { check.note("revision \(stored.revision) has a key that is none") }
        check.greatestStamp = max(check.greatestStamp, register.version.stamp)
        if let value = register.value {
            check.values += 1
            check.bytes += value.count
            if register.expiresAt != nil { check.expiring += 1 }
            if stored.lease?.isExclusive == true { check.claims += 1 }
            var scanner = JSONScanner(maximumDepth: JSONScanner.maximumServerDepth)
            if (try? scanner.skipValue(value.span)) == nil || scanner.position != value.count {
                check.note("the value of \(key) is no JSON")
            }
            if register.cause != nil { check.note("\(key) has a value, and a cause for having none") }
        } else {
            check.tombstones += 1
            if stored.lease != nil { check.note("\(key) is deleted, and claimed") }
        }
    }
}
