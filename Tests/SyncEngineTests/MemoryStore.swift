import NIOCore
import Registers
import SyncEngine
import SyncProtocol

/// A store in memory, whose commits can be made to fail, and whose readers see what was committed when they read.
final class MemoryStore: WriteStore {
    enum Fault {
        case none
        /// The commit fails, and nothing was written.
        case commitLost
        /// The commit fails, and everything was written all the same.
        case commitKept
        case begin
        case put
    }

    var fault = Fault.none
    private(set) var committed: [Key: StoredRegister] = [:]
    private(set) var bound = Stamp.zero
    private var pending: [Key: StoredRegister] = [:]
    private var pendingBound: Stamp?
    private var isInTransaction = false
    let epoch = Epoch(0xABCD)

    var head: UInt64 { committed.values.map(\.revision).max() ?? 0 }

    /// Whether even the head cannot be read.
    var isBlind = false

    func state() throws(StoreError) -> StoreState {
        if isBlind { throw StoreError("state") }
        return StoreState(epoch: epoch, head: head, clockBound: bound)
    }

    func begin(now: UInt64, clockBound: Stamp?) throws(StoreError) {
        precondition(!isInTransaction)
        if fault == .begin { throw StoreError("begin") }
        isInTransaction = true
        pendingBound = clockBound
    }

    func current(of key: Key) -> StoredRegister? { pending[key] ?? committed[key] }

    func put(_ register: StoredRegister, replacing: UInt64?) throws(StoreError) {
        precondition(isInTransaction)
        if fault == .put { throw StoreError("put") }
        precondition(committed[register.register.key]?.revision == replacing, "the wrong row would be replaced")
        pending[register.register.key] = register
    }

    func commit() throws(StoreError) {
        precondition(isInTransaction)
        isInTransaction = false
        if fault != .commitLost {
            committed.merge(pending) { $1 }
            if let pendingBound { bound = pendingBound }
        }
        pending = [:]
        pendingBound = nil
        if fault == .commitLost || fault == .commitKept { throw StoreError("commit") }
    }

    func rollback() {
        isInTransaction = false
        pending = [:]
        pendingBound = nil
    }

    // MARK: Reading

    /// Reads a page as the database's readers do, of at most `limit` rows.
    func page(_ request: PageRequest, limit: Int, framing: Framing) -> PageResult {
        var rows: [PageResult.Row] = []
        var frames = ByteBuffer()
        var next: PageRequest.Position?
        func append(_ stored: StoredRegister) {
            framing(&frames) { ServerMessage.writeUpdate(stored.register, revision: stored.revision, to: &$0) }
            rows.append(PageResult.Row(key: stored.register.key, end: frames.readableBytes))
        }
        switch request.position {
        case .keys(let after, let base):
            let range = committed.values.filter { $0.register.key > (after ?? Key(unchecked: [])) }
                .filter { request.pattern.matches($0.register.key) }
                .sorted { $0.register.key < $1.register.key }
            for stored in range.prefix(limit) {
                if stored.revision > base || !stored.register.isTombstone { append(stored) }
            }
            if range.count > limit { next = .keys(after: range[limit - 1].register.key, base: base) }
        case .changes(let after):
            let changes = committed.values.filter { $0.revision > after }.sorted { $0.revision < $1.revision }
            for stored in changes.prefix(limit) where request.pattern.matches(stored.register.key) { append(stored) }
            if changes.count > limit { next = .changes(after: changes[limit - 1].revision) }
        }
        return PageResult(request: request, head: head, rows: rows, frames: frames, next: next)
    }

    func look(up request: LookupRequest, framing: Framing) -> LookupResult {
        var frames = ByteBuffer()
        for lookup in request.lookups {
            switch lookup {
            case .get(let id, let key):
                let found = committed[key].flatMap { $0.register.isTombstone ? nil : ($0.register, $0.revision) }
                framing(&frames) { ServerMessage.writeGot(id: id, key: key, found, to: &$0) }
            case .list(let list):
                let rows = committed.values.filter { list.pattern.matches($0.register.key) && !$0.register.isTombstone }
                    .sorted { $0.register.key < $1.register.key }
                framing(&frames) {
                    ServerMessage.writeListed(id: list.id, rows.map { ($0.register, $0.revision) }, next: nil, to: &$0)
                }
            }
        }
        return LookupResult(
            connection: request.connection, head: head, answered: request.lookups.count, frames: frames)
    }
}
