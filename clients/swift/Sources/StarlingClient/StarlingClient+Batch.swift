import Foundation
import SyncProtocol

extension StarlingClient {
    /// Before a batch of which nobody knows what became is sent again.
    private static let resendPause = Duration.milliseconds(100)
    /// For how long that is known to be safe, with a minute in hand (`protocol/README.md`, Promises).
    private static let answersKept = Duration.seconds(14 * 60)

    /// Changes several keys in one commit, or none of them. It is not queued. Where its answer is lost, it is asked again for as
    /// long as there is time: the server knows it by its op.
    ///
    /// - Parameters:
    ///   - writes: 1 to 256, each of another key.
    ///   - requirements: what has to be in place, of these keys and of others.
    ///   - op: to send it again after `outcome_unknown`, at least 64 random bits; nil: one is made up.
    ///   - timeout: how long to wait for the answer, and for a connection that is being made.
    /// - Throws: ``StarlingError`` `bad_key`, `offline`, `outcome_unknown`, `closed`, and what the server has against it.
    public func batch(
        _ writes: [BatchWrite], requiring requirements: [Requirement] = [], op: String? = nil,
        timeout: Duration = StarlingClient.patience
    ) async throws -> BatchOutcome {
        var message = Message("batch")
        let op = op ?? UUID().uuidString
        message.add("op", op)
        message.add("require", raw: "[\(try requirements.map { try $0.json() }.joined(separator: ","))]")
        message.add("writes", raw: "[\(writes.map(\.message).joined(separator: ","))]")
        let released = Dictionary(writes.map { ($0.key, $0.released) }) { first, _ in first }
        return try BatchOutcome(
            try await resend(message, op: op, released, until: .now + min(timeout, Self.answersKept)))
    }

    private func resend(
        _ message: Message, op: String, _ released: [String: UInt64?], until end: ContinuousClock.Instant
    ) async throws -> JSONObject {
        var unknown: StarlingError?
        while true {
            var pause = Self.resendPause
            do {
                let answer = try await ask(message, "batch", max(.zero, end - .now)) { answer, state in
                    if answer.bool("applied") == true { state.engine.released(released) }
                    return answer
                }
                return answer
            } catch let error as StarlingError {
                if error.code == "outcome_unknown", unknown == nil {
                    unknown = StarlingError(error.code, "\(error); ask again with the op \(op)")
                }
                // Once it may have been made, nothing but its answer says what became of it.
                guard let unknown else { throw error }
                let mayRetry = ["outcome_unknown", "offline", "timeout"].contains(error.code) || error.mayRetry
                pause = max(pause, error.retryAfter)
                if !mayRetry || .now + pause >= end || state == .closed { throw unknown }
            }
            try await Task.sleep(for: pause)
        }
    }
}
