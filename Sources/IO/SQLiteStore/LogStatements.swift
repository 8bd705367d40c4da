import Registers
import SyncEngine

/// What the writer does to the log of revisions: a row for each change, and none any more for those that a later one has taken the place of.
final class LogStatements {
    /// How many rows are looked at, or deleted, where there is nothing else to do.
    private static let portion = 512

    /// Whether rows that are stale may be in the log from before this began.
    private enum Sweep {
        /// They are looked for behind this revision, up to the last that there was.
        case reached(Revision, last: Revision)
        case done
        /// Nobody knows any more whether there are: the next start looks for them.
        case unknown
    }

    private let insert: Statement
    private let delete: Statement
    private let select: Statement
    private var stale: StaleRevisions
    private var sweep: Sweep

    /// - Parameters:
    ///   - stale: gathers what is stale.
    ///   - isSwept: whether no row is stale.
    ///   - head: the greatest revision that there is.
    init(
        on handle: OpaquePointer, gathering stale: StaleRevisions, isSwept: Bool, head: Revision
    ) throws(StoreError) {
        self.stale = stale
        insert = try Statement("INSERT INTO log (revision, id) VALUES (?1, ?2)", on: handle)
        delete = try Statement("DELETE FROM log WHERE revision = ?1", on: handle)
        select = try Statement(
            """
            SELECT log.revision, register.revision IS log.revision FROM log LEFT JOIN register ON register.id = log.id \
            WHERE log.revision > ?1 ORDER BY log.revision LIMIT ?2
            """, on: handle)
        sweep = isSwept ? .done : .reached(0, last: head)
    }

    /// Notes a change that is put. Within a transaction.
    func put(_ stored: StoredRegister, replacing: Revision?) throws(StoreError) {
        insert.bind(stored.revision, at: 1)
        insert.bind(stored.row, at: 2)
        try insert.run()
        if let replacing { stale.replace(replacing) }
    }

    /// Deletes some rows at the end of a transaction, if there are many by now.
    func cleanBeside() {
        do throws(StoreError) {
            try remove(stale.takeBeside())
        } catch {
            // What stays there is passed over by who reads, and found by the next start.
            sweep = .unknown
        }
    }

    /// Whether there is enough to be done where nothing else is.
    var hasPortion: Bool {
        if case .reached = sweep { return true }
        return isWorthCleaning
    }

    /// Whether as many are known to be stale as are deleted at once.
    var isWorthCleaning: Bool { stale.count >= Self.portion }

    /// Looks for rows that are stale since before this began. Outside of a transaction: once stale, always stale.
    ///
    /// - Returns: false where all are found.
    func sweepPortion() throws(StoreError) -> Bool {
        guard case .reached(let position, let last) = sweep, position < last else {
            if case .reached = sweep { sweep = .done }
            return false
        }
        defer { select.reset() }
        select.bind(position, at: 1)
        select.bind(Int64(Self.portion), at: 2)
        var next = last
        var count = 0
        while try select.step() {
            let revision = Revision(UInt64(bitPattern: select.integer(0)))
            if revision <= last, select.integer(1) == 0 { stale.found(revision) }
            next = revision
            count += 1
        }
        sweep = count < Self.portion || next >= last ? .done : .reached(next, last: last)
        return true
    }

    /// Deletes some rows, in a transaction for nothing else.
    ///
    /// - Returns: how many are left.
    func clean() throws(StoreError) -> Int {
        let rows = stale.take(Self.portion)
        try remove(rows)
        return stale.count - rows.count
    }

    /// Whether no row is stale that is not known.
    var isSwept: Bool {
        if case .done = sweep { true } else { false }
    }

    private func remove(_ revisions: [Revision]) throws(StoreError) {
        for revision in revisions {
            delete.bind(revision, at: 1)
            try delete.run()
        }
    }

    /// Forgets what is stale, and leaves it to the next start to look for it.
    func giveUp() {
        stale = StaleRevisions()
        sweep = .unknown
    }

    func committed() { stale.committed() }

    /// - Parameter isUnknown: whether it may have been committed all the same.
    func rolledBack(isUnknown: Bool) {
        stale.rolledBack()
        if isUnknown { sweep = .unknown }
    }
}
