import Access
import NIOCore
import Registers
import SyncProtocol

extension Shard {
    /// Asks for the next page of a connection, if there is one to read and its socket keeps up. One at a time, so that
    /// many subscriptions of one connection take turns, and memory stays bounded by a page.
    mutating func readNextPage(of id: ConnectionID) {
        // A connection with thousands of subscriptions has the rest of them read, and others have their turn meanwhile.
        var looks = 2 * RecentBatches.maximumScan
        while catchUpFromMemory(id, looks: &looks) {}
        guard let state = connection(id), !state.isPageInFlight, !state.isBackedUp,
            let subscriptionID = state.catchingUp.first, let subscription = subscription(subscriptionID),
            let position = subscription.nextRead
        else { return }
        guard pagesInFlight < configuration.maximumPages else { return queueForPage(state) }
        state.isPageInFlight = true
        pagesInFlight += 1
        recent.pageAsked(at: delivered)
        jobs.append(
            .page(
                PageRequest(
                    connection: id, subscription: subscriptionID, filter: subscription.filter, position: position,
                    askedAt: delivered)))
    }

    /// Hands the next subscription of a connection what it has missed, where that is little and all of it is in memory: then
    /// it is live, and nothing has to be read.
    ///
    /// - Returns: whether there was one.
    private mutating func catchUpFromMemory(_ id: ConnectionID, looks: inout Int) -> Bool {
        guard let state = connection(id), !state.isPageInFlight, !state.isBackedUp,
            let subscriptionID = state.catchingUp.first, let subscription = subscription(subscriptionID),
            case .catchingUp = subscription.state, subscription.position >= collectedRevision,
            let missed = recent.changes(after: subscription.position, matching: subscription.filter, looks: &looks)
        else { return false }
        let coverage = subscription.coverage
        let changes = missed.filter { coverage?.covers($0.key, at: $0.revision) != true }
        guard changes.reduce(0, { $0 + $1.size }) <= configuration.maximumFromMemory else { return false }
        var frames = ByteBuffer()
        for place in changes { frames.writeImmutableBuffer(place.frame) }
        if !changes.isEmpty { replyFrames(to: id, frames) }
        noteSent(UInt64(changes.count), to: subscriptionID)
        becomeLive(subscriptionID)
        sync(subscriptionID)
        if subscription.wantsCursors { noticeCursor(subscriptionID) }
        return true
    }

    /// The subscription has everything up to what was delivered last.
    private mutating func becomeLive(_ id: SubscriptionID) {
        guard let subscription = subscription(id) else { return }
        subscriptions[Int(id.slot)]?.position = delivered
        connections[Int(subscription.connection.slot)]?.hasCaughtUp(id)
        counters.subscriptionsCatchingUp -= 1
        endDemotion(id)
        subscriptions[Int(id.slot)]?.lag = .none
        goLive(id)
    }

    /// A page was read.
    package mutating func read(_ page: PageResult, head: UInt64, now: UInt64) {
        if page.head > delivered {
            // Its rows are newer than what other subscriptions of the connection have got. Its time comes with the batch.
            heldPages.append(page)
            return
        }
        handOver(page)
        recent.pageDone(askedAt: page.request.askedAt)
        pagesInFlight -= 1
        let id = page.request.connection
        if let state = connection(id) {
            state.isPageInFlight = false
            // Behind all who wait already.
            if pageQueue.isEmpty { readNextPage(of: id) } else { queueForPage(state) }
        }
        readQueuedPages()
        runWaiting(of: id, head: head, now: now)
    }

    private mutating func queueForPage(_ state: ConnectionState) {
        guard !state.isQueuedForPage else { return }
        state.isQueuedForPage = true
        pageQueue.append(state.id)
    }

    private mutating func readQueuedPages() {
        while pagesInFlight < configuration.maximumPages, let id = pageQueue.popFirst() {
            guard let state = connection(id) else { continue }
            state.isQueuedForPage = false
            readNextPage(of: id)
        }
    }

    /// Hands over what was read at a head that has been delivered by now.
    mutating func readHeld(head: UInt64, now: UInt64) {
        if heldPages.contains(where: { $0.head <= delivered }) {
            let due = heldPages.filter { $0.head <= delivered }
            heldPages.removeAll { $0.head <= delivered }
            for page in due { read(page, head: head, now: now) }
        }
        if heldLookups.contains(where: { $0.head <= delivered }) {
            let due = heldLookups.filter { $0.head <= delivered }
            heldLookups.removeAll { $0.head <= delivered }
            for result in due { looked(up: result, head: head, now: now) }
        }
    }

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
        advance(subscriptionID, past: page)
        if page.next == nil { finish(subscriptionID, page, changed: changed) }
        sync(subscriptionID)
        if subscription.wantsCursors { noticeCursor(subscriptionID) }
        takeTurns(subscription.connection, after: subscriptionID)
    }

    private mutating func send(
        _ page: PageResult, changed: [Key: RecentBatches.Place], to id: SubscriptionID
    ) {
        guard let subscription = subscription(id), !page.rows.isEmpty else { return }
        // A page of a snapshot has keys that none before it had; only those that come by revision can repeat one.
        let sent = page.isOfSnapshot ? nil : subscription.coverage
        var frames = page.frames
        var count = page.rows.count
        if !changed.isEmpty || sent != nil { (frames, count) = page.updates(changed: changed, without: sent) }
        if count > 0 { replyFrames(to: subscription.connection, frames) }
        noteSent(UInt64(count), to: id)
    }

    private mutating func advance(_ id: SubscriptionID, past page: PageResult) {
        let slot = Int(id.slot)
        switch (page.request.position, page.next) {
        case (_, .keys(let after, let base)?):
            subscriptions[slot]?.state = .snapshot(after: after, base: base)
            if let after, subscriptions[slot]?.filter.mayName(after) == true {
                subscriptions[slot]?.lastNamed = after
            } else if let last = page.rows.last {
                subscriptions[slot]?.lastNamed = last.key
            }
        case (_, .changes(let after)?):
            subscriptions[slot]?.state = .catchingUp
            subscriptions[slot]?.position = after
        case (.keys(_, let base), nil):
            // The range is through. What changed since its beginning comes by revision.
            subscriptions[slot]?.state = .catchingUp
            subscriptions[slot]?.position = base
        case (.changes, nil):
            subscriptions[slot]?.position = page.head
        }
    }

    /// The page reached the end at its head. If the subscription has everything up to there, what was committed since is
    /// in memory: it is handed over, the latest change of each key, and the subscription goes live.
    private mutating func finish(
        _ id: SubscriptionID, _ page: PageResult, changed: [Key: RecentBatches.Place]
    ) {
        // A socket that is behind gets nothing live: the next page goes on from here.
        guard let subscription = subscription(id), subscription.position == page.head,
            connection(subscription.connection)?.isBackedUp == false
        else { return }
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
        subscriptions[Int(id.slot)]?.count += count
        subscription(id)?.demotion?.sent += count
        counters.updatesSent += count
    }

    private mutating func noticeCursor(_ id: SubscriptionID) {
        guard let subscription = subscription(id) else { return }
        let cursor = subscription.cursor(epoch: epoch, delivered: delivered)
        reply(to: subscription.connection) {
            ServerMessage.writeCursorNotice(id: subscription.id, cursor: cursor, to: &$0)
        }
    }

    /// The subscription that has just had a page goes to the end of the line.
    private mutating func takeTurns(_ id: ConnectionID, after subscriptionID: SubscriptionID) {
        guard connections[Int(id.slot)]?.catchingUp.first == subscriptionID else { return }
        connections[Int(id.slot)]?.catchingUp.removeFirst()
        connections[Int(id.slot)]?.catchingUp.append(subscriptionID)
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
        changed: [Key: RecentBatches.Place], without sent: SnapshotCoverage?
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
    fileprivate func note(_ page: PageResult, changed: [Key: RecentBatches.Place]) {
        var through: Key?
        if case .keys(let after, _)? = page.next { through = after }
        note(through: through, head: page.head)
        guard !changed.isEmpty else { return }
        for row in page.rows {
            if let change = changed[row.key] { note(row.key, at: change.revision) }
        }
    }
}
