import NIOCore

/// A handshake that waits in an ``AdmissionQueue``.
protocol AdmissionWaiter: AnyObject {
    /// It is its turn.
    func admitted()
}

/// Admits a few handshakes of an event loop at a time, and lets the loop poll its sockets in between: when thousands of clients
/// reconnect at once, those that are connected would otherwise wait until all the handshakes are done.
final class AdmissionQueue {
    /// How many are admitted in a turn: a quarter of a millisecond's worth.
    static let turn = 8
    /// From this length of the queue on, sockets are polled between two turns.
    private static let crowd = 64

    private let eventLoop: any EventLoop
    private var passed = 0
    private var waiting: [any AdmissionWaiter] = []
    /// How many of those have had their turn.
    private var done = 0

    init(eventLoop: any EventLoop) {
        self.eventLoop = eventLoop
    }

    /// Calls ``AdmissionWaiter/admitted()`` now, or when it is this handshake's turn.
    func enter(_ waiter: any AdmissionWaiter) {
        if passed == 0 { scheduleTurn() }
        passed += 1
        if passed <= Self.turn {
            waiter.admitted()
        } else {
            waiting.append(waiter)
        }
    }

    /// Not at once: an event loop runs what is to be done at once before it looks at any socket.
    private func scheduleTurn() {
        eventLoop.assumeIsolated().scheduleTask(in: .microseconds(20)) { [self] in nextTurn() }
    }

    private func nextTurn() {
        let turn = waiting[done...].prefix(Self.turn)
        passed = turn.count
        done += turn.count
        // Scheduling the next turn before this one runs makes it due at once, so no socket is polled in between. That is faster,
        // and fine for a short queue; a long one must let other sockets in between turns, so it is scheduled afterwards.
        let isCrowd = waiting.count - done > Self.crowd
        if passed > 0, !isCrowd { scheduleTurn() }
        for waiter in turn { waiter.admitted() }
        if isCrowd { scheduleTurn() }
        if done == waiting.count {
            waiting = []
            done = 0
        } else if done >= 1_024 {
            waiting.removeFirst(done)
            done = 0
        }
    }
}
