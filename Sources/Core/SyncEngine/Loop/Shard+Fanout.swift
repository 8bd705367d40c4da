import Access
import NIOCore
import Registers
import SyncProtocol

extension Shard {
    /// A batch was committed. Batches come in the order of their revisions, each to every event loop.
    package mutating func receive(_ batch: CommittedBatch, head: UInt64, now: UInt64) {
        fanOut(batch)
        delivered = max(delivered, batch.head)
        collectedRevision = max(collectedRevision, batch.collectedRevision)
        recent.delivered(batch)
        let results = batch.results[configuration.loop]
        for result in results { settle(result) }
        readHeld(head: head, now: now)
        for result in results { runWaiting(of: result.connection, head: head, now: now) }
    }

    /// Works out which connections get which changes: once for each group of connections that want the same ones.
    private mutating func fanOut(_ batch: CommittedBatch) {
        guard !batch.changes.isEmpty, groups.count > 0 || demotedCount > 0 else { return }
        for (place, change) in batch.changes.enumerated() {
            index.findMatches(of: change.key, into: &found)
            for pattern in found {
                groups.note(place, for: pattern)
                if change.revision != nil { matched[Int(pattern)] &+= 1 }
            }
            found.removeAll(keepingCapacity: true)
        }
        let alone = silentWriters(of: batch)
        for id in groups.touched {
            guard let group = groups.groups[Int(id)] else { continue }
            let except = alone.isEmpty ? [] : alone.intersection(group.members)
            deliveries.append(
                Delivery(
                    frames: frames(of: group.pending, in: batch), slots: group.members, except: except,
                    before: delivered, batch: batch, changes: group.pending))
            counters.updatesSent += UInt64((group.members.count - except.count) * group.pending.count)
            for slot in except { deliverAlone(to: slot, group.pending, of: batch) }
        }
        groups.endBatch()
    }

    /// The frames of some changes of a batch: a part of the batch's own buffer where they stand side by side there.
    private func frames(of changes: [Int32], in batch: CommittedBatch) -> ByteBuffer {
        guard let first = changes.first, let last = changes.last else { return ByteBuffer() }
        if Int(last - first) == changes.count - 1 { return batch.frames(Int(first)..<(Int(last) + 1)) }
        var buffer = ByteBuffer()
        var index = 0
        while index < changes.count {
            var end = index + 1
            while end < changes.count, changes[end] == changes[end - 1] + 1 { end += 1 }
            buffer.writeImmutableBuffer(batch.frames(Int(changes[index])..<(Int(changes[end - 1]) + 1)))
            index = end
        }
        return buffer
    }

    /// The connections here that wrote something in the batch and have a subscription with `echo:false`: they cannot
    /// share what their group gets.
    private func silentWriters(of batch: CommittedBatch) -> Set<Int32> {
        var slots: Set<Int32> = []
        for change in batch.changes where change.origin.loop == configuration.loop {
            let id = change.origin.connection
            if isConnected(id), connections[Int(id.slot)]?.hasSilentSubscription == true { slots.insert(id.slot) }
        }
        return slots
    }

    private mutating func deliverAlone(to slot: Int32, _ changes: [Int32], of batch: CommittedBatch) {
        guard let state = connections[Int(slot)] else { return }
        let live = state.subscriptions.values.compactMap { subscription($0) }.filter { $0.state == .live }
        let wanted = changes.filter { place in
            let change = batch.changes[Int(place)]
            let isOwn = change.origin.loop == configuration.loop && change.origin.connection == state.id
            // An own write comes back if any subscription that matches it wants it to.
            return !isOwn || live.contains { $0.wantsEcho && $0.filter.matches(change.key) }
        }
        guard !wanted.isEmpty else { return }
        deliveries.append(
            Delivery(
                frames: frames(of: wanted, in: batch), slots: [slot], before: delivered, batch: batch, changes: wanted))
        counters.updatesSent += UInt64(wanted.count)
    }
}
