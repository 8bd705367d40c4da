import NIOCore

/// Somebody who waits at a ``Turnstile``.
protocol TurnTaker: AnyObject {
    func pass()
}

/// Lets so many handshakes of an event loop pass at a time, and gives everybody else their turn in between: thousands who come
/// back at once would keep those who are there waiting for as long as all their handshakes take.
final class Turnstile {
    /// How many pass in a turn: a quarter of a millisecond's worth.
    static let turn = 8
    /// From how many who wait on sockets are looked at between two turns.
    private static let crowd = 64

    private let eventLoop: any EventLoop
    private var passed = 0
    private var waiting: [any TurnTaker] = []
    /// How many of those have had their turn.
    private var done = 0

    init(eventLoop: any EventLoop) {
        self.eventLoop = eventLoop
    }

    /// Calls ``TurnTaker/pass()`` now, or when it is this handshake's turn.
    func enter(_ door: any TurnTaker) {
        if passed == 0 { scheduleTurn() }
        passed += 1
        if passed <= Self.turn {
            door.pass()
        } else {
            waiting.append(door)
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
        // What is scheduled before they pass is due when they have, and no socket is looked at in between. That is as well for
        // a few more turns; of a crowd, which would take long, others are not to wait for the end.
        let isCrowd = waiting.count - done > Self.crowd
        if passed > 0, !isCrowd { scheduleTurn() }
        for door in turn { door.pass() }
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
