import Access
import NIOCore
import Registers
import SyncProtocol

extension Shard {
    /// Changes were committed. They come in the order of their revisions, to every event loop.
    package mutating func changesCommitted(_ commit: Committed, _ turn: Turn) {
        assert(commit.head >= delivered, "revisions rise from commit to commit")
        fanOut(commit.made)
        delivered = commit.head
        collectedRevision = max(collectedRevision, commit.collectedRevision)
        recent.delivered(commit.made)
        let results = commit.results[configuration.loop]
        for result in results { settle(result) }
        handOverHeld(turn)
        for result in results { runWaiting(of: result.connection, turn) }
    }

    /// Works out which connections get which changes: once for each group of connections that want the same ones.
    private mutating func fanOut(_ commit: CommittedChanges) {
        let groups = fanout.match(commit.changes)
        if groups.isEmpty { return }
        let alone = silentWriters(of: commit)
        for group in groups {
            let (members, changes) = fanout[group]
            let except = alone.isEmpty ? [] : alone.intersection(members)
            deliveries.append(
                Delivery(
                    frames: frames(of: changes, in: commit), slots: members, except: except, before: delivered,
                    commit: commit, changes: changes))
            counters.updatesSent += UInt64((members.count - except.count) * changes.count)
            for slot in except { deliverAlone(to: connections[slot], changes, of: commit) }
        }
        fanout.forget()
    }

    /// The frames of some changes of a commit: a part of its own buffer where they stand side by side there.
    private func frames(of changes: [Int32], in commit: CommittedChanges) -> ByteBuffer {
        guard let first = changes.first, let last = changes.last else { return ByteBuffer() }
        if Int(last - first) == changes.count - 1 { return commit.frames(Int(first)..<(Int(last) + 1)) }
        var buffer = ByteBuffer()
        var index = 0
        while index < changes.count {
            var end = index + 1
            while end < changes.count, changes[end] == changes[end - 1] + 1 { end += 1 }
            buffer.writeImmutableBuffer(commit.frames(Int(changes[index])..<(Int(changes[end - 1]) + 1)))
            index = end
        }
        return buffer
    }

    /// The connections here that wrote something in the commit and have a subscription with `echo:false`: they cannot
    /// share what their group gets.
    private func silentWriters(of commit: CommittedChanges) -> Set<Int32> {
        var slots: Set<Int32> = []
        for change in commit.changes where change.origin.loop == configuration.loop {
            if let state = connection(change.origin.connection), state.silent > 0 { slots.insert(state.id.slot) }
        }
        return slots
    }

    private mutating func deliverAlone(to state: ConnectionState, _ changes: [Int32], of commit: CommittedChanges) {
        let live = state.subscriptions.values.map { subscriptions[$0.slot] }.filter(\.isLive)
        let wanted = changes.filter { place in
            let change = commit.changes[Int(place)]
            let isOwn = change.origin.loop == configuration.loop && change.origin.connection == state.id
            // An own write comes back if any subscription that matches it wants it to.
            return !isOwn || live.contains { $0.wantsEcho && $0.filter.matches(change.key) }
        }
        guard !wanted.isEmpty else { return }
        deliveries.append(
            Delivery(
                frames: frames(of: wanted, in: commit), slots: [state.id.slot], before: delivered, commit: commit,
                changes: wanted))
        counters.updatesSent += UInt64(wanted.count)
    }
}
