import NIOCore
import NIOPosix
import SyncClient

/// A run of a load generator: all connections on one event loop, to which everything here belongs but the functions that
/// are `async`.
package final class LoadRun: @unchecked Sendable {
    /// Writes that are gone through in order: to fill the database, and to clean up.
    private struct Round {
        var next = 0
        let end: Int
        let isDeleting: Bool
        let done: EventLoopPromise<Void>
    }

    private enum Load {
        case none
        /// As many messages under way as the plan says.
        case window
        /// So many a second, from a time on, in microseconds.
        case rate(Int, since: UInt64)
    }

    let plan: LoadPlan
    let eventLoop: any EventLoop
    /// ``LoadPlan/Scenario/reconnect``: where those run who only watch.
    var watchLoop: any EventLoop
    let opener: LoadOpener
    var phase = LoadProgress.Phase.connecting
    private let start = NIODeadline.now()
    private let padding: String
    private let serverTime: @Sendable () -> Double?
    private var serverTimeBefore: Double?
    private var random = SystemRandomNumberGenerator()

    var report: LoadReport
    /// Where deliveries and acknowledgements are counted; nil: nowhere.
    private(set) var isMeasuring = false
    private var round: Round?
    private var load = Load.none
    private var ticker: RepeatedTask?
    private var scheduledFor: UInt64?
    /// Since the load began.
    private var published: UInt64 = 0
    private var delivered: UInt64 = 0
    private var missing: UInt64 = 0
    private var quietSince: (delivered: UInt64, time: UInt64) = (0, 0)
    private var nextPublisher = 0
    /// Where subscriptions were when their connections were closed.
    var cursors: [Int: String] = [:]
    private(set) var failure: String?

    init(
        _ plan: LoadPlan, _ dialer: Dialer, eventLoop: any EventLoop, serverTime: @escaping @Sendable () -> Double?
    ) {
        self.serverTime = serverTime
        self.plan = plan
        self.eventLoop = eventLoop
        watchLoop = eventLoop
        opener = LoadOpener(dialer: dialer)
        padding = String(repeating: "x", count: max(0, plan.valueSize - 20))
        report = LoadReport(scenario: plan.scenario)
    }

    /// Microseconds since the run began.
    var now: UInt64 { UInt64((NIODeadline.now() - start).nanoseconds / 1_000) }

    var publishers: ArraySlice<LoadConnection?> {
        opener.connections[min(plan.subscribers, opener.connections.count)...].prefix(plan.publishers)
    }

    // MARK: Writing

    /// Goes through all keys, and writes or deletes each.
    func writeAll(deleting isDeleting: Bool, keys: Int) -> EventLoopFuture<Void> {
        let done = eventLoop.makePromise(of: Void.self)
        round = Round(end: keys, isDeleting: isDeleting, done: done)
        if keys == 0 { finishRound() }
        for publisher in publishers { publisher.map(goOn) }
        return done.futureResult
    }

    private func goOn(_ publisher: LoadConnection) {
        guard var round else { return }
        while round.next < round.end, publisher.outstanding < max(plan.window, 64) {
            if round.isDeleting {
                publisher.delete(plan.key(round.next), at: now)
            } else {
                publisher.publish(plan.key(round.next), at: now, padding: padding)
            }
            round.next += 1
        }
        self.round = round
        publisher.flush()
        if round.next == round.end, publishers.allSatisfy({ ($0?.outstanding ?? 0) == 0 }) { finishRound() }
    }

    private func finishRound() {
        round?.done.succeed()
        round = nil
    }

    /// Writes some keys at random.
    func writeSome(_ count: Int) {
        guard let publisher = publishers.first ?? nil else { return }
        for _ in 0..<count { publish(from: publisher, at: now) }
        publisher.flush()
    }

    private func publish(from publisher: LoadConnection, at time: UInt64) {
        let key = plan.key(Int.random(in: 0..<plan.keys, using: &random))
        publisher.publish(key, at: time, padding: padding)
        published += 1
        if isMeasuring { report.published += 1 }
    }

    // MARK: Load

    /// Begins to publish.
    func startLoad() {
        published = 0
        delivered = 0
        missing = 0
        quietSince = (0, now)
        load = plan.rate > 0 ? .rate(plan.rate, since: now) : .window
        ticker = eventLoop.scheduleRepeatedTask(initialDelay: .milliseconds(100), delay: .milliseconds(100)) {
            [self] _ in
            tick()
        }
        pump()
    }

    func stopLoad() {
        load = .none
        ticker?.cancel()
        ticker = nil
    }

    /// Whether anything that was published is still under way.
    var isDrained: Bool {
        delivered + missing >= published * UInt64(plan.receivers)
            && publishers.allSatisfy { ($0?.outstanding ?? 0) == 0 }
    }

    func measure(_ isOn: Bool) {
        isMeasuring = isOn
        let time = serverTime()
        if isOn {
            serverTimeBefore = time
        } else if let time, let before = serverTimeBefore {
            report.serverSeconds = (report.serverSeconds ?? 0) + time - before
        }
    }

    private func tick() {
        if delivered != quietSince.delivered { quietSince = (delivered, now) }
        // What has not come for so long was replaced by something newer.
        let due = published * UInt64(plan.receivers)
        if now - quietSince.time > 1_000_000, due > delivered + missing {
            missing = due - delivered
            if isMeasuring { report.missing += missing }
        }
        pump()
    }

    private func pump() {
        switch load {
        case .none: return
        case .rate(let rate, let since):
            // Each is timed from when it was due, whatever kept it from being sent then: no omission is coordinated.
            var due = since + published * 1_000_000 / UInt64(rate)
            while due <= now {
                guard let publisher = takePublisher() else { return }
                publish(from: publisher, at: due)
                due = since + published * 1_000_000 / UInt64(rate)
            }
            schedule(due)
        case .window:
            if plan.receivers == 0 {
                for publisher in publishers {
                    guard let publisher else { continue }
                    while publisher.outstanding < plan.window { publish(from: publisher, at: now) }
                }
            } else {
                let receivers = UInt64(plan.receivers)
                while published * receivers < delivered + missing + UInt64(plan.window) * receivers {
                    guard let publisher = takePublisher() else { return }
                    publish(from: publisher, at: now)
                }
            }
        }
        for publisher in publishers { publisher?.flush() }
    }

    /// Has ``pump()`` called at a time.
    private func schedule(_ time: UInt64) {
        guard scheduledFor != time else { return }
        scheduledFor = time
        eventLoop.assumeIsolated().scheduleTask(deadline: start + .microseconds(Int64(time))) { [self] in pump() }
    }

    private func takePublisher() -> LoadConnection? {
        let publishers = publishers
        guard !publishers.isEmpty else { return nil }
        nextPublisher = (nextPublisher + 1) % publishers.count
        return publishers[publishers.startIndex + nextPublisher]
    }

    func fail(_ message: String) {
        if failure == nil { failure = message }
        opener.fail(message)
        round?.done.fail(ClientError(.unavailable, message))
        round = nil
    }
}

extension LoadRun: LoadConnectionOwner {
    func connected(_ connection: LoadConnection) {
        if let request = opener.subscription(connection.index) {
            connection.send(request)
            connection.flush()
        } else {
            opener.isReady(connection)
        }
    }

    func subscribed(_ connection: LoadConnection, cursor: String?) {
        cursors[connection.index] = cursor
    }

    func synced(_ connection: LoadConnection) {
        opener.isReady(connection)
    }

    func updated(_ connection: LoadConnection, sentAt: UInt64?) {
        delivered += 1
        guard isMeasuring else { return }
        report.delivered += 1
        // What those who come back have missed was sent long ago.
        if let sentAt, plan.receivers > 0 { report.deliveries.note(now &- sentAt) }
    }

    func acknowledged(_ connection: LoadConnection) {
        guard let sentAt = connection.takeOldest() else { return }
        if isMeasuring {
            report.acknowledged += 1
            report.acknowledgements.note(now - sentAt)
        }
        if round != nil { goOn(connection) }
    }

    func refused(_ connection: LoadConnection, _ message: String) {
        report.refused += 1
        if connection.takeOldest() == nil || report.refused > 100 { fail("the server refused: \(message)") }
        if round != nil { goOn(connection) }
    }

    func finishedReading() { pump() }

    func disconnected(_ connection: LoadConnection, wasOpen: Bool) {
        if opener.disconnected(connection) || !wasOpen { return }
        report.lost += 1
        if report.lost == 1 { fail("the server closed a connection") }
    }
}
