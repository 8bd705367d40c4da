package import Logging
import NIOCore
import Synchronization

/// Says in the log which handshakes are refused, and why: at most one a second, since strangers decide how many there are.
package final class RefusalLog: Sendable {
    private struct State {
        var next = NIODeadline.uptimeNanoseconds(0)
        var unsaid = 0
        var counts: [Int: UInt64] = [:]
    }

    private static let interval = TimeAmount.seconds(1)

    private let logger: Logger
    private let state = Mutex(State())

    package init(logger: Logger) {
        self.logger = logger
    }

    /// How many were refused, by the status they were answered with.
    package var counts: [Int: UInt64] { state.withLock { $0.counts } }

    /// - Parameters:
    ///   - response: what the client is answered, beginning with the status line and ending with a sentence.
    ///   - now: when.
    func note(_ response: String, from address: SocketAddress?, now: NIODeadline = .now()) {
        let status = Int(response.dropFirst("HTTP/1.1 ".count).prefix(3)) ?? 0
        let unsaid: Int? = state.withLock { state in
            state.counts[status, default: 0] += 1
            guard now >= state.next else {
                state.unsaid += 1
                return nil
            }
            state.next = now + Self.interval
            defer { state.unsaid = 0 }
            return state.unsaid
        }
        guard let unsaid else { return }
        let body = response.firstRange(of: "\r\n\r\n").map { response[$0.upperBound...] } ?? ""
        let reason = body.split(whereSeparator: \.isNewline).first.map(String.init) ?? ""
        var metadata: Logger.Metadata = [
            "status": "\(status)", "reason": "\(reason)", "address": "\(address?.ipAddress ?? "unknown")",
        ]
        if unsaid > 0 { metadata["others"] = "\(unsaid)" }
        logger.notice("A handshake was refused", metadata: metadata)
    }
}
