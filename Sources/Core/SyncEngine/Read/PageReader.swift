import Access
import NIOCore
package import Registers
import SyncProtocol

/// Decides what pages and lookups contain: what a subscription that catches up is told of, and what a get, a list or a digest answers. Each
/// is one short transaction of its store. Calls block.
package struct PageReader<Store: ReadStore> {
    /// How much is read at once.
    package struct Limits: Sendable {
        /// How much a page may hold, and how much a list may answer with, in bytes: what is begun is finished.
        package var bytes = 256 * 1024
        /// How many rows a page may look at, matching or not, so that no transaction lasts.
        package var rows = 8_192
        /// How many rows a list or a digest may look at where it could not say where to go on, since the reader must not be told
        /// of any of them.
        package var scan = 65_536

        package init() {}
    }

    private let store: Store
    private let framing: Framing
    private let limits: Limits
    /// Told when something could not be read.
    private let noteFailure: @Sendable (StoreError) -> Void

    package init(
        store: Store, framing: @escaping Framing, limits: Limits = Limits(),
        noteFailure: @escaping @Sendable (StoreError) -> Void = { _ in }
    ) {
        self.store = store
        self.framing = framing
        self.limits = limits
        self.noteFailure = noteFailure
    }

    // MARK: Pages

    /// Reads a page for a subscription that is catching up.
    ///
    /// - Parameter now: the wall clock in milliseconds, by which registers have expired.
    package func page(_ request: PageRequest, now: WallTime) -> PageResult {
        do throws(StoreError) {
            return try store.snapshot { snapshot throws(StoreError) in
                var page = PageDraft(
                    request: request, framing: framing, maximumBytes: limits.bytes, maximumRows: limits.rows,
                    horizon: try snapshot.horizon())
                switch request.position {
                case .keys(let after, let base): try readKeys(into: &page, after, base: base, snapshot, now: now)
                case .changes(let after): try readChanges(into: &page, after: after, snapshot)
                }
                return page.result
            }
        } catch {
            noteFailure(error)
            return PageResult(request: request, failure: error)
        }
    }

    private func readKeys(
        into page: inout PageDraft, _ after: Key?, base: Revision, _ snapshot: Store.Snapshot, now: WallTime
    ) throws(StoreError) {
        let filter = page.request.filter
        let matcher = filter.makeMatcher()
        try Self.forEachRegister(of: filter, after: after, snapshot) { row in
            if page.isFull {
                page.next = page.lastKey.map { .keys(after: $0, base: base) }
                return false
            }
            page.looked += 1
            page.lastKey = row.register.key
            let isPart = row.register.isTombstone ? row.revision > base : !row.register.isExpired(at: now)
            if isPart, matcher.matches(row.register.key) { page.append(row) }
            return true
        }
    }

    private func readChanges(
        into page: inout PageDraft, after: Revision, _ snapshot: Store.Snapshot
    ) throws(StoreError) {
        let matcher = page.request.filter.makeMatcher()
        var position = after
        try snapshot.forEachChange(after: after) { row in
            if page.isFull {
                page.next = .changes(after: position)
                return false
            }
            page.looked += 1
            position = row.revision
            // Also what has expired and is to be swept: that is a change of its own, behind this one. Each revision is told as what it
            // was, or another subscription of the connection could tell of the register after its end.
            if matcher.matches(row.register.key) { page.append(row) }
            return true
        }
    }

    // MARK: Lookups

    /// Answers gets, lists and digests, in their order, until the answers are large enough; at least one.
    package func look(up request: LookupRequest, now: WallTime) -> LookupResult {
        var frames = ByteBuffer()
        do throws(StoreError) {
            return try store.snapshot { snapshot throws(StoreError) in
                let head = try snapshot.horizon().head
                var answered = 0
                for lookup in request.lookups where frames.readableBytes < limits.bytes {
                    answer(lookup, within: request.scope, snapshot, now: now, to: &frames)
                    answered += 1
                }
                return LookupResult(connection: request.connection, head: head, answered: answered, frames: frames)
            }
        } catch {
            frames.clear()
            for lookup in request.lookups { fail(lookup, error, to: &frames) }
            return LookupResult(
                connection: request.connection, head: 0, answered: request.lookups.count, frames: frames)
        }
    }

    private func answer(
        _ lookup: LookupRequest.Lookup, within scope: Scope, _ snapshot: Store.Snapshot, now: WallTime,
        to frames: inout ByteBuffer
    ) {
        do throws(LookupFailure) {
            switch lookup {
            case .get(let id, let key):
                let found = scope.admits(key) ? try visible(key, snapshot, now: now) : nil
                framing(&frames) { ServerMessage.writeGot(id: id, key: key, found, to: &$0) }
            case .list(let list):
                try self.list(list, Filter(list.pattern, within: scope), snapshot, now: now, to: &frames)
            case .digest(let digest):
                try self.digest(digest, Filter(digest.pattern, within: scope), snapshot, now: now, to: &frames)
            }
        } catch {
            switch error {
            // One damaged page is no reason not to answer the others.
            case .store(let failure): fail(lookup, failure, to: &frames)
            case .refused(var refusal):
                refusal.id = lookup.id
                framing(&frames) { ServerMessage.writeError(refusal, to: &$0) }
            }
        }
    }

    private func fail(_ lookup: LookupRequest.Lookup, _ failure: StoreError, to frames: inout ByteBuffer) {
        noteFailure(failure)
        let error = WireError(.storageFailed, "the database could not be read: \(failure)", id: lookup.id)
        framing(&frames) { ServerMessage.writeError(error, to: &$0) }
    }

    private func visible(
        _ key: Key, _ snapshot: Store.Snapshot, now: WallTime
    ) throws(LookupFailure) -> (register: Register, revision: Revision)? {
        let found: StoredRegister?
        do throws(StoreError) {
            found = try snapshot.register(of: key)
        } catch {
            throw .store(error)
        }
        guard let found, found.register.isVisible(at: now) else { return nil }
        return (found.register, found.revision)
    }

    private func list(
        _ list: ClientMessage.List, _ filter: Filter, _ snapshot: Store.Snapshot, now: WallTime,
        to frames: inout ByteBuffer
    ) throws(LookupFailure) {
        var rows: [(register: Register, revision: Revision)] = []
        var bytes = 0
        var next: Key?
        let matcher = filter.makeMatcher()
        try scan(filter, after: list.after, snapshot) { row, scan in
            let isFull = rows.count == list.limit || bytes >= limits.bytes || scan.looked >= limits.rows
            if isFull, scan.lastNamed != nil {
                next = scan.lastNamed
                return false
            }
            scan.look(at: row.register.key)
            if row.register.isVisible(at: now), matcher.matches(row.register.key) {
                rows.append((row.register, row.revision))
                bytes += row.register.record.count
            }
            return true
        }
        framing(&frames) { [rows, next] in ServerMessage.writeListed(id: list.id, rows, next: next, to: &$0) }
    }

    /// The digest of what reads see in a range of keys.
    private func digest(
        _ request: ClientMessage.Digest, _ filter: Filter, _ snapshot: Store.Snapshot, now: WallTime,
        to frames: inout ByteBuffer
    ) throws(LookupFailure) {
        var digest = RegisterDigest()
        var isComplete = true
        let matcher = filter.makeMatcher()
        let last = try scan(filter, after: request.after, snapshot) { row, scan in
            if let through = request.through, row.register.key > through { return false }
            if scan.looked >= request.limit, scan.lastNamed != nil {
                isComplete = false
                return false
            }
            scan.look(at: row.register.key)
            if row.register.isVisible(at: now), matcher.matches(row.register.key) { digest.add(row.register) }
            return true
        }
        framing(&frames) { [digest, isComplete] in
            ServerMessage.writeDigest(id: request.id, digest, last: last, isComplete: isComplete, to: &$0)
        }
    }

    // MARK: Rows

    /// Goes through the registers in a filter's ranges, for a list or a digest.
    ///
    /// - Returns: the last key that its reader may be told of.
    @discardableResult
    private func scan(
        _ filter: Filter, after: Key?, _ snapshot: Store.Snapshot, _ body: (StoredRegister, inout Scan) -> Bool
    ) throws(LookupFailure) -> Key? {
        var scan = Scan(filter: filter, limit: limits.scan)
        do throws(StoreError) {
            try Self.forEachRegister(of: filter, after: after, snapshot) { row in
                body(row, &scan) && scan.refusal == nil
            }
        } catch {
            throw .store(error)
        }
        if let refusal = scan.refusal { throw .refused(refusal) }
        return scan.lastNamed
    }

    /// Goes through the registers in the filter's ranges, in the order of keys, behind `after`, until `body` returns false.
    private static func forEachRegister(
        of filter: Filter, after: Key?, _ snapshot: Store.Snapshot, _ body: (StoredRegister) -> Bool
    ) throws(StoreError) {
        for range in filter.ranges {
            guard try snapshot.forEachRegister(in: range, after: after, body) else { return }
        }
    }
}

extension PageReader: Sendable where Store: Sendable {}

/// Why a lookup has no answer. (Not within the reader: a generic error makes Swift 6.3.1's optimizer fail.)
private enum LookupFailure: Error {
    case store(StoreError)
    case refused(WireError)
}

/// How far a list or a digest has got. It ends behind a key that the reader may be told of, since it says where to go on.
private struct Scan {
    let filter: Filter
    let limit: Int
    private(set) var looked = 0
    private(set) var lastNamed: Key?
    /// There is none for too long.
    private(set) var refusal: WireError?

    init(filter: Filter, limit: Int) {
        self.filter = filter
        self.limit = limit
    }

    mutating func look(at key: Key) {
        looked += 1
        if filter.mayName(key) {
            lastNamed = key
        } else if lastNamed == nil, looked > limit {
            refusal = WireError(
                .tooLarge, "\(limit) keys are where \(filter.pattern) looks next, and none of them may be read",
                hint: "ask for a pattern that begins as the keys do that may be read")
        }
    }
}

/// A page being put together.
private struct PageDraft {
    let request: PageRequest
    let framing: Framing
    private let maximumBytes: Int
    private let maximumRows: Int
    private let horizon: Horizon
    private var rows: [PageResult.Row] = []
    private var frames = ByteBuffer()
    var next: PageRequest.Position?
    var lastKey: Key?
    var looked = 0

    init(
        request: PageRequest, framing: @escaping Framing, maximumBytes: Int, maximumRows: Int, horizon: Horizon
    ) {
        self.request = request
        self.framing = framing
        self.maximumBytes = maximumBytes
        self.maximumRows = maximumRows
        self.horizon = horizon
    }

    var isFull: Bool { frames.readableBytes >= maximumBytes || looked >= maximumRows }

    mutating func append(_ row: StoredRegister) {
        // Most pages of many rows are full ones.
        if rows.count == 64 { frames.reserveCapacity(min(maximumBytes, 1 << 20) / 8 * 9) }
        framing(&frames) { ServerMessage.writeUpdate(row.register, revision: row.revision, to: &$0) }
        rows.append(PageResult.Row(key: row.register.key, revision: row.revision, end: frames.readableBytes))
    }

    var result: PageResult {
        PageResult(
            request: request, head: horizon.head, collectedRevision: horizon.collected, rows: rows, frames: frames,
            next: next)
    }
}
