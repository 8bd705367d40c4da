import Access
import NIOCore
import Registers
import SyncProtocol

extension Shard {
    /// Asks for the next page of a connection, if there is one to read and its socket keeps up.
    ///
    /// - Parameter isBehindAll: whether it has just had one, and others that wait come first.
    mutating func readNextPage(of state: ConnectionState, isBehindAll: Bool = false) {
        guard state.page != .reading, !state.isBackedUp else { return }
        // A connection with thousands of subscriptions has the rest of them read, and others have their turn meanwhile.
        var looks = 2 * RecentCommits.maximumScan
        while let next = state.catchingUp.first, catchUpFromMemory(next, looks: &looks) {}
        guard state.page == .none, let id = state.catchingUp.first else { return }
        let subscription = subscriptions[id.slot]
        guard let position = subscription.nextRead else {
            preconditionFailure("a live subscription is not catching up")
        }
        guard pages.request(state.id, isBehindAll: isBehindAll) else {
            state.page = .waiting
            return
        }
        state.page = .reading
        recent.pageAsked(at: delivered)
        jobs.append(
            .page(
                PageRequest(
                    connection: state.id, subscription: id, filter: subscription.filter, position: position,
                    askedAt: delivered)))
    }

    /// Hands a subscription what it has missed, where that is little and all of it is in memory: then it is live, and nothing has to be
    /// read.
    ///
    /// - Returns: whether it was.
    private mutating func catchUpFromMemory(_ id: SubscriptionID, looks: inout Int) -> Bool {
        let subscription = subscriptions[id.slot]
        // One that comes from another event loop may be ahead of this one.
        guard case .catchingUp = subscription.state, subscription.position >= collectedRevision,
            subscription.position <= delivered,
            let missed = recent.changes(after: subscription.position, matching: subscription.filter, looks: &looks)
        else { return false }
        let coverage = subscription.coverage
        let changes = missed.filter { coverage?.covers($0.key, at: $0.revision) != true }
        guard changes.reduce(0, { $0 + $1.size }) <= configuration.maximumFromMemory else { return false }
        var frames = ByteBuffer()
        for place in changes { frames.writeImmutableBuffer(place.frame) }
        if !changes.isEmpty { replyFrames(to: subscription.connection, frames) }
        noteSent(UInt64(changes.count), to: id)
        becomeLive(id)
        sync(id)
        if subscription.wantsCursors { noticeCursor(id) }
        return true
    }

    /// The subscription has everything up to what was delivered last.
    private mutating func becomeLive(_ id: SubscriptionID) {
        connections[subscriptions[id.slot].connection.slot].hasCaughtUp(id)
        counters.subscriptionsCatchingUp -= 1
        if let demotion = goLive(id) { endDemotion(demotion, of: subscriptions[id.slot]) }
    }

    /// A page was read.
    package mutating func pageRead(_ page: PageResult, _ turn: Turn) {
        guard page.head <= delivered else { return heldPages.hold(page, until: page.head) }
        handOver(page)
        recent.pageDone(askedAt: page.request.askedAt)
        pages.finished()
        if let state = connection(page.request.connection) {
            assert(state.page == .reading, "a page that was not asked for")
            state.page = .none
            readNextPage(of: state, isBehindAll: true)
        }
        while let id = pages.next() {
            // It may have gone by now.
            guard let state = connection(id) else { continue }
            assert(state.page == .waiting)
            state.page = .none
            readNextPage(of: state)
            // It may have caught up without a page, and have something that waited for that.
            runWaiting(of: id, turn)
        }
        runWaiting(of: page.request.connection, turn)
    }

    /// Hands over what was read at a head that has been delivered by now.
    mutating func handOverHeld(_ turn: Turn) {
        for page in heldPages.take(upTo: delivered) { pageRead(page, turn) }
        for result in heldLookups.take(upTo: delivered) { lookupsRead(result, turn) }
    }

    // In this order: the rows go out, are noted as sent, and take the subscription forward; if that was the last page, what is in memory beyond it
    // goes out too, and the subscription is live. Only then is it known whether it is synced, and how far its cursor is.
    private mutating func handOver(_ page: PageResult) {
        let subscriptionID = page.request.subscription
        guard let subscription = subscription(subscriptionID) else { return }
        if let failure = page.failure {
            end(subscriptionID)
            return refuse(
                WireError(
                    .storageFailed, "the subscription ended, since the database could not be read: \(failure)",
                    hint: "subscribe again", id: subscription.id), of: subscription.connection)
        }
        if case .changes(let after) = page.request.position, after < page.collectedRevision {
            // Deletes that it has not got yet are forgotten.
            end(subscriptionID)
            return refuse(
                WireError(
                    .resyncRequired,
                    "the subscription ended: it has got as far as \(after), and deletes up to "
                        + "\(page.collectedRevision) are forgotten",
                    hint: "subscribe without \"since\"; the snapshot replaces what you hold", id: subscription.id),
                of: subscription.connection)
        }
        // In the place of a row whose key has changed since goes what it has become: the row itself would be a step back
        // for a connection that has got the change by another subscription.
        let changed = recent.latestChanges(after: page.head)
        send(page, changed: changed, to: subscriptionID)
        if page.isOfSnapshot { subscription.coverage?.note(page, changed: changed) }
        subscriptions[subscriptionID.slot].pageHandedOver(page)
        if page.next == nil { finish(subscriptionID, page, changed: changed) }
        sync(subscriptionID)
        if subscription.wantsCursors { noticeCursor(subscriptionID) }
        takeTurns(connections[subscription.connection.slot], after: subscriptionID)
    }

    private mutating func send(
        _ page: PageResult, changed: [Key: RecentCommits.Place], to id: SubscriptionID
    ) {
        let subscription = subscriptions[id.slot]
        guard !page.rows.isEmpty else { return }
        // A page of a snapshot has keys that none before it had; only those that come by revision can repeat one.
        let sent = page.isOfSnapshot ? nil : subscription.coverage
        var frames = page.frames
        var count = page.rows.count
        if !changed.isEmpty || sent != nil { (frames, count) = page.updates(changed: changed, without: sent) }
        if count > 0 { replyFrames(to: subscription.connection, frames) }
        noteSent(UInt64(count), to: id)
    }

    /// The page reached the end at its head. If the subscription has everything up to there, what was committed since is
    /// in memory: it is handed over, the latest change of each key, and the subscription goes live.
    private mutating func finish(
        _ id: SubscriptionID, _ page: PageResult, changed: [Key: RecentCommits.Place]
    ) {
        // A socket that is behind gets nothing live: the next page goes on from here.
        let subscription = subscriptions[id.slot]
        guard subscription.position == page.head, !connections[subscription.connection.slot].isBackedUp else { return }
        var frames = ByteBuffer()
        let sent = changed.isEmpty ? [] : Set(page.rows.map(\.key))
        let matcher = subscription.filter.makeMatcher()
        let due = changed.filter { matcher.matches($0.key) && !sent.contains($0.key) }.values
        for place in due.sorted(by: { $0.revision < $1.revision }) {
            frames.writeImmutableBuffer(place.frame)
            noteSent(1, to: id)
        }
        if frames.readableBytes > 0 { replyFrames(to: subscription.connection, frames) }
        becomeLive(id)
    }

    private mutating func noteSent(_ count: UInt64, to id: SubscriptionID) {
        subscriptions[id.slot].sent(count)
        counters.updatesSent += count
    }

    private mutating func noticeCursor(_ id: SubscriptionID) {
        let subscription = subscriptions[id.slot]
        let cursor = subscription.cursor(epoch: epoch, delivered: delivered)
        reply(to: subscription.connection) {
            ServerMessage.writeCursorNotice(id: subscription.id, cursor: cursor, to: &$0)
        }
    }

    /// The subscription that has just had a page goes to the end of the line.
    private func takeTurns(_ state: ConnectionState, after id: SubscriptionID) {
        guard state.catchingUp.first == id else { return }
        state.catchingUp.removeFirst()
        state.catchingUp.append(id)
    }
}

extension PageResult {
    fileprivate var isOfSnapshot: Bool {
        if case .keys = request.position { true } else { false }
    }

    /// The frames of the rows, each as its key is by now.
    ///
    /// - Parameters:
    ///   - changed: the latest change of each key since the page was read.
    ///   - sent: what is left out.
    fileprivate func updates(
        changed: [Key: RecentCommits.Place], without sent: SnapshotCoverage?
    ) -> (frames: ByteBuffer, count: Int) {
        var updates = ByteBuffer()
        var count = 0
        var end = 0
        for row in rows {
            let start = end
            end = row.end
            let change = changed[row.key]
            if sent?.covers(row.key, at: change?.revision ?? row.revision) == true { continue }
            count += 1
            updates.writeImmutableBuffer(
                change?.frame ?? frames.getSlice(at: frames.readerIndex + start, length: end - start) ?? ByteBuffer())
        }
        return (updates, count)
    }
}

extension SnapshotCoverage {
    /// A page of the snapshot was sent, with the changes of its keys since it was read. An empty one counts too: what comes to be in
    /// its stretch of keys later was not sent.
    fileprivate func note(_ page: PageResult, changed: [Key: RecentCommits.Place]) {
        var through: Key?
        if case .keys(let after, _)? = page.next { through = after }
        note(through: through, head: page.head)
        guard !changed.isEmpty else { return }
        for row in page.rows {
            if let change = changed[row.key] { note(row.key, at: change.revision) }
        }
    }
}
