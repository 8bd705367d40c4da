import Loops
import NIOCore

/// Watches a peer that has something to take or to answer, to find out whether it is still there.
final class KeepAlive {
    /// When a ping was sent that nothing has come after.
    var pingedAt: NIODeadline? {
        didSet { if pingedAt != nil { pingEnd = nil } }
    }
    /// How much the peer's kernel has taken once it has the ping; nil while that is not known.
    private var pingEnd: UInt64?
    /// What its progress was, and when that changed.
    private var progress: (value: UInt64?, since: NIODeadline)?

    /// - Parameters:
    ///   - value: how far the peer's kernel has got; nil where this one does not say.
    ///   - backlog: what the connection has not given to this machine's kernel, in bytes.
    func look(
        _ value: ChannelSocket.Progress?, backlog: Int, at now: NIODeadline, limits: TransportLimits
    ) -> Liveness {
        if backlog == 0, pingEnd == nil { pingEnd = value.map { $0.taken + $0.outstanding } }
        // A slow reader comes to the ping late. From when its kernel has the ping, only an answer counts: a frozen
        // client's kernel goes on taking.
        let isBeforePing = pingEnd.map { (value?.taken ?? .max) < $0 } ?? true
        let isNew = progress.map { $0.value != value?.taken && (backlog > 0 || isBeforePing) } ?? true
        if isNew { progress = (value?.taken, now) }
        let takenAt = progress?.since ?? now
        if backlog > 0 { return now - takenAt >= limits.stallTimeout ? .stalled : .alive }
        let silence = now - max(pingedAt ?? now, takenAt)
        return silence >= limits.pingTimeout ? .unresponsive : .alive
    }
}
