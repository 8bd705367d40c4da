import NIOCore

/// Connections that have had their turn, and go on when the sockets have been looked at again: a few at a time, for a millisecond
/// at most, since what is long for each of them is too long for everybody else when there are many.
final class TurnQueue {
    private static let longest = TimeAmount.milliseconds(1)

    private let eventLoop: any EventLoop
    private let whenDone: () -> Void
    private var waiting = CircularBuffer<SocketTransport>()
    private var isScheduled = false
    /// How many bytes of large messages were taken since the sockets were looked at last.
    private var largeBytes = 0

    /// From so many bytes on a message takes so long that it counts for the others.
    private static let large = 64 << 10
    private static let maximumLargeBytes = 1 << 20

    /// - Parameter whenDone: is called after some of them have gone on.
    init(eventLoop: any EventLoop, whenDone: @escaping () -> Void) {
        self.eventLoop = eventLoop
        self.whenDone = whenDone
    }

    func enter(_ transport: SocketTransport) {
        waiting.append(transport)
        schedule()
    }

    /// A message of so many bytes was taken.
    func noteTaken(_ size: Int) {
        if size >= Self.large { largeBytes += size }
    }

    /// Whether so much was taken that whoever may send more of it waits until the sockets have been looked at.
    var hasTakenMuch: Bool { largeBytes >= Self.maximumLargeBytes }

    func socketsWereLookedAt() { largeBytes = 0 }

    /// Not at once: an event loop runs what is to be done at once before it looks at any other socket.
    private func schedule() {
        guard !isScheduled else { return }
        isScheduled = true
        eventLoop.assumeIsolated().scheduleTask(in: .microseconds(50)) { [self] in
            isScheduled = false
            socketsWereLookedAt()
            run()
        }
    }

    private func run() {
        let end = NIODeadline.now() + Self.longest
        // Those that come while this runs are for the next time.
        for _ in 0..<waiting.count {
            waiting.removeFirst().goOn()
            if NIODeadline.now() >= end { break }
        }
        whenDone()
        if !waiting.isEmpty { schedule() }
    }
}
