import Loops
import NIOCore
import SyncEngine
import WebSocket

/// What the sockets of one event loop share. It belongs to that event loop.
final class SocketLoop: @unchecked Sendable {
    let driver: LoopDriver
    let admissions: AdmissionQueue
    /// Connections that have had their turn.
    let turns: TurnQueue
    /// For all connections whose messages are compressed each by itself.
    let inflater = Inflater(forgets: true, windowBits: 15)
    let deflater = FrameDeflater(forgets: true, windowBits: DeflateParameters.sharedWindowBits)
    private var compressedChanges = CompressedChanges()
    private var willRun = false

    init(_ driver: LoopDriver) {
        self.driver = driver
        admissions = AdmissionQueue(eventLoop: driver.eventLoop)
        turns = TurnQueue(eventLoop: driver.eventLoop) { driver.run() }
    }

    /// Has the driver run once all sockets that have something have been read: what came from many connections at once goes to the
    /// committer together.
    func runSoon() {
        guard !willRun else { return }
        willRun = true
        driver.eventLoop.execute { [self] in
            willRun = false
            turns.socketsWereLookedAt()
            driver.run()
        }
    }

    /// The frames of a delivery, compressed: once for all connections of this event loop.
    func compressed(_ delivery: Delivery) -> ByteBuffer {
        if let frames = delivery.compressed { return frames }
        let frames = compressedChanges.frames(of: delivery, by: deflater)
        delivery.compressed = frames
        return frames
    }
}
