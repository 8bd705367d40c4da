package import NIOCore

/// What an ``Outbound`` does its work with: a socket, or a test's stand-in.
package protocol OutboundSocket: AnyObject {
    /// Gives bytes to the kernel without waiting, and without the channel's knowledge.
    func sendNow(_ bytes: UnsafeRawBufferPointer) -> SendResult
    /// Queues bytes in the channel, which calls ``Outbound/wrote(cost:)`` when they are gone.
    func writeLater(_ bytes: ByteBuffer, cost: Int)
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
/// While the channel has nothing of ours pending, bytes go to the kernel directly, which costs half of what a write
/// through the channel does. What the kernel does not take goes through the channel, and until that is gone, so does
/// everything else.
package final class Outbound {
    private enum State: Equatable {
        case idle
        case pending
        /// The end has been asked for; nothing more is taken.
        case closing
        case closed
    }

    private unowned let socket: any OutboundSocket
    private var state = State.idle
    /// What is queued in the channel, in bytes of the memory that it holds on to.
    package private(set) var backlog = 0
    /// Whether the kernel said that the connection is broken. To be acted on by the owner, after the fan-out under way.
    package private(set) var hasFailed = false

    package init(socket: any OutboundSocket) {
        self.socket = socket
    }

    /// Sends bytes behind all that were sent before.
    package func send(_ bytes: ByteBuffer) {
        switch state {
        case .idle: sendDirectly(bytes)
        case .pending: queue(bytes)
        case .closing, .closed: break
        }
    }

    /// Ends the sending side behind all that was sent. What is sent afterwards is dropped.
    package func finish() {
        guard state == .idle || state == .pending else { return }
        state = .closing
        socket.finish()
    }

    /// The connection is gone.
    package func closed() {
        state = .closed
        backlog = 0
    }

    /// The channel has got rid of something that was queued.
    ///
    /// - Returns: whether that was the last of it.
    package func wrote(cost: Int) -> Bool {
        guard state != .closed else { return false }
        backlog -= cost
        guard backlog == 0 else { return false }
        if state == .pending { state = .idle }
        return true
    }

    private func sendDirectly(_ bytes: ByteBuffer) {
        switch bytes.withUnsafeReadableBytes(socket.sendNow) {
        case .sent(let count) where count == bytes.readableBytes: break
        case .sent(let count):
            var rest = bytes
            rest.moveReaderIndex(forwardBy: count)
            queue(rest)
        case .unavailable: queue(bytes)
        case .failed:
            hasFailed = true
            state = .closed
        }
    }

    private func queue(_ bytes: ByteBuffer) {
        guard bytes.readableBytes > 0 else { return }
        var bytes = bytes
        // A remainder keeps the whole of a buffer that many connections share. A small one is worth a copy.
        if bytes.readableBytes * 4 < bytes.storageCapacity {
            bytes = ByteBuffer(bytes: bytes.readableBytesView)
        }
        let cost = max(bytes.readableBytes, bytes.storageCapacity)
        backlog += cost
        state = .pending
        socket.writeLater(bytes, cost: cost)
    }
}
