import Foundation
import NIOCore

/// Accepts nothing for a moment when there are no descriptors for what is accepted. The kernel goes on saying that somebody waits, and an
/// event loop that tried each time would do nothing else.
final class AcceptPause: ChannelInboundHandler {
    typealias InboundIn = Channel

    private static let pause = TimeAmount.milliseconds(100)

    private var isPaused = false

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard let error = error as? IOError, [EMFILE, ENFILE, ENOBUFS, ENOMEM].contains(error.errnoCode) else {
            return context.fireErrorCaught(error)
        }
        guard !isPaused else { return }
        isPaused = true
        let channel = context.channel
        channel.setOption(.autoRead, value: false).assumeIsolated().whenComplete { _ in }
        context.eventLoop.assumeIsolated().scheduleTask(in: Self.pause) { [self] in
            isPaused = false
            channel.setOption(.autoRead, value: true).assumeIsolated().whenComplete { _ in }
        }
    }
}
