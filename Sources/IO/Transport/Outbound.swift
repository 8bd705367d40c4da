import Loops
package import NIOCore
package import SyncEngine
package import WebSocket

/// What an ``Outbound`` does its work with: a socket, or a test's stand-in.
package protocol OutboundSocket: AnyObject {
    /// Gives bytes to the kernel without waiting, and without the channel's knowledge.
    func sendNow(_ bytes: UnsafeRawBufferPointer) -> SendResult
    /// Queues bytes in the channel, which calls ``Outbound/wrote()`` when they are gone.
    func writeLater(_ bytes: ByteBuffer)
    /// Closes the sending side, behind everything queued.
    func finish()
}

package enum SendResult: Equatable, Sendable {
    /// The kernel took so many bytes; fewer than given means that it is full.
    case sent(Int)
    /// There is no way past the channel: under TLS, or before the socket is known.
    case unavailable
    /// The connection is broken.
    case failed
}

/// The one way out of a connection: every byte passes through here, so that frames never mix.
///
/// While nothing of ours is pending, bytes go to the kernel directly, which costs half of what a write through the channel
/// does. What the kernel does not take is given to the channel, which writes it when the socket is ready, and until it has,
/// everything else waits here: where it can still be dropped, at the boundaries of what was handed over.
package final class Outbound {
    private enum State: Equatable {
        case idle
        /// The channel has bytes of ours.
        case pending
        /// The end has been asked for; nothing more is taken.
        case closing
        case closed
    }

    /// Whole frames that wait.
    private struct Waiting {
        var bytes: ByteBuffer
        var cost: Int
        /// Set where the bytes can be done without.
        var delivery: Delivery?
    }

    /// Up to how many bytes of what waits are put together for one system call.
    private static let chunkSize = 64 * 1024

    /// Compresses what is sent, where the connection has a compressor of its own. That refers to what it compressed before,
    /// so it is given nothing that can still be dropped.
    package var deflater: FrameDeflater?
    private unowned let socket: any OutboundSocket
    private var waiting: [Waiting] = []
    /// What the channel has, in bytes of the memory that it holds on to.
    private var pendingCost = 0
    private var waitingCost = 0
    private var state = State.idle
    /// How many of the first that wait have been begun, while they are being given out.
    private var begun = 0
    private var isPumping = false
    private var mustFinish = false
    /// Whether the kernel said that the connection is broken. To be acted on by the owner, after the fan-out under way.
    package private(set) var hasFailed = false

    package init(socket: any OutboundSocket) {
        self.socket = socket
    }

    /// What has not been given to the kernel, in bytes of the memory that it holds on to.
    package var backlog: Int { pendingCost + waitingCost }

    /// Sends bytes behind all that were sent before.
    ///
    /// - Parameter delivery: what the bytes are of, where they may be dropped until they are begun.
    package func send(_ bytes: ByteBuffer, of delivery: Delivery? = nil) {
        guard bytes.readableBytes > 0 else { return }
        switch state {
        case .idle: sendDirectly(deflater?.encode(bytes) ?? bytes)
        case .pending: wait(bytes, delivery)
        case .closing, .closed: break
        }
    }

    /// Drops what may be dropped and is not begun.
    ///
    /// - Returns: what will never be sent, in the order in which it would have been.
    package func drop() -> [Delivery] {
        guard state == .pending, !isPumping else { return [] }
        let dropped = waiting.compactMap(\.delivery)
        waiting.removeAll { $0.delivery != nil }
        waitingCost = waiting.reduce(0) { $0 + $1.cost }
        return dropped
    }

    /// Drops everything that is not begun, replies too: the connection is about to be closed.
    package func dropAll() {
        waiting = []
        waitingCost = 0
        begun = 0
    }

    /// Ends the sending side behind all that was sent. What is sent afterwards is dropped.
    package func finish() {
        switch state {
        case .idle:
            state = .closing
            socket.finish()
        case .pending:
            state = .closing
            if waiting.isEmpty {
                socket.finish()
            } else {
                mustFinish = true
            }
        case .closing, .closed: break
        }
    }

    /// The connection is gone.
    package func closed() {
        state = .closed
        pendingCost = 0
        dropAll()
    }

    /// The channel has got rid of what it was given.
    ///
    /// - Returns: whether nothing is left.
    package func wrote() -> Bool {
        guard state != .closed else { return false }
        pendingCost = 0
        // Reported from within a write of our own: that goes on by itself.
        guard !isPumping else { return false }
        pump()
        guard backlog == 0, state != .closed else { return false }
        if state == .pending { state = .idle }
        return true
    }

    /// Gives what waits to the kernel and, what that does not take, to the channel.
    private func pump() {
        isPumping = true
        defer { isPumping = false }
        while pendingCost == 0, begun < waiting.count, state != .closed {
            var bytes = waiting[begun].bytes
            waitingCost -= waiting[begun].cost
            begun += 1
            // Many small ones leave together.
            while begun < waiting.count, bytes.readableBytes + waiting[begun].bytes.readableBytes <= Self.chunkSize {
                bytes.writeImmutableBuffer(waiting[begun].bytes)
                waitingCost -= waiting[begun].cost
                begun += 1
            }
            sendDirectly(deflater?.encode(bytes) ?? bytes)
        }
        // What was dropped meanwhile is not among them.
        waiting.removeFirst(begun)
        begun = 0
        if mustFinish, waiting.isEmpty, state == .closing {
            mustFinish = false
            socket.finish()
        }
    }

    private func sendDirectly(_ bytes: ByteBuffer) {
        switch bytes.withUnsafeReadableBytes(socket.sendNow) {
        case .sent(let count) where count == bytes.readableBytes: break
        case .sent(let count):
            var rest = bytes
            rest.moveReaderIndex(forwardBy: count)
            giveToChannel(rest)
        case .unavailable: giveToChannel(bytes)
        case .failed:
            hasFailed = true
            closed()
        }
    }

    private func giveToChannel(_ bytes: ByteBuffer) {
        let bytes = bytes.unshared
        pendingCost = bytes.cost
        if state == .idle { state = .pending }
        let wasPumping = isPumping
        isPumping = true
        socket.writeLater(bytes)
        isPumping = wasPumping
        // The channel may have got rid of it at once, and more may have come meanwhile.
        guard !wasPumping, pendingCost == 0, state == .pending else { return }
        pump()
        if backlog == 0, state == .pending { state = .idle }
    }

    private func wait(_ bytes: ByteBuffer, _ delivery: Delivery?) {
        let bytes = bytes.unshared
        waitingCost += bytes.cost
        waiting.append(Waiting(bytes: bytes, cost: bytes.cost, delivery: delivery))
    }
}
