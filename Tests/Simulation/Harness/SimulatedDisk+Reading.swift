import Access
package import NIOCore
import Registers
package import SyncEngine
import SyncProtocol

/// What the readers of a database do: each call is one transaction over what is committed.
extension SimulatedDisk {
    /// Reads a page, of at most `limit` rows.
    package func page(
        _ request: PageRequest, limit: Int, now: UInt64 = 0,
        framing: @Sendable (inout ByteBuffer, (inout ByteBuffer) -> Void) -> Void
    ) -> PageResult {
        var rows: [PageResult.Row] = []
        var frames = ByteBuffer()
        var next: PageRequest.Position?
        func append(_ register: Register, _ revision: UInt64) {
            framing(&frames) { ServerMessage.writeUpdate(register, revision: revision, to: &$0) }
            rows.append(PageResult.Row(key: register.key, revision: revision, end: frames.readableBytes))
        }
        switch request.position {
        case .keys(let after, let base):
            let range = committed.values.filter { $0.register.key > (after ?? Key(unchecked: [])) }
                .filter { request.filter.matches($0.register.key) }
                .sorted { $0.register.key < $1.register.key }
            for stored in range.prefix(limit) {
                let register = stored.register
                if register.isTombstone ? stored.revision > base : !register.isExpired(at: now) {
                    append(register, stored.revision)
                }
            }
            if range.count > limit { next = .keys(after: range[limit - 1].register.key, base: base) }
        case .changes(let after):
            let changes = committed.values.filter { $0.revision > after }.sorted { $0.revision < $1.revision }
            for stored in changes.prefix(limit) where request.filter.matches(stored.register.key) {
                let register = stored.register
                let isOver = !register.isTombstone && register.isExpired(at: now)
                append(isOver ? register.expired : register, stored.revision)
            }
            if changes.count > limit { next = .changes(after: changes[limit - 1].revision) }
        }
        return PageResult(
            request: request, head: head, collectedRevision: content.collected.revision, rows: rows, frames: frames,
            next: next)
    }

    package func look(
        up request: LookupRequest, now: UInt64 = 0,
        framing: @Sendable (inout ByteBuffer, (inout ByteBuffer) -> Void) -> Void
    ) -> LookupResult {
        var frames = ByteBuffer()
        for lookup in request.lookups {
            switch lookup {
            case .get(let id, let key):
                let found = committed[key].flatMap {
                    $0.register.isVisible(at: now) ? ($0.register, $0.revision) : nil
                }
                framing(&frames) { ServerMessage.writeGot(id: id, key: key, found, to: &$0) }
            case .list(let list):
                let rows = visible(list.pattern, now: now)
                framing(&frames) {
                    ServerMessage.writeListed(id: list.id, rows.map { ($0.register, $0.revision) }, next: nil, to: &$0)
                }
            case .digest(let request):
                var digest = RegisterDigest()
                for row in visible(request.pattern, now: now) { digest.add(row.register) }
                let result = digest
                framing(&frames) {
                    ServerMessage.writeDigest(id: request.id, result, last: nil, isComplete: true, to: &$0)
                }
            }
        }
        return LookupResult(
            connection: request.connection, head: head, answered: request.lookups.count, frames: frames)
    }

    private func visible(_ pattern: Pattern, now: UInt64) -> [StoredRegister] {
        committed.values.filter { pattern.matches($0.register.key) && $0.register.isVisible(at: now) }
            .sorted { $0.register.key < $1.register.key }
    }
}
