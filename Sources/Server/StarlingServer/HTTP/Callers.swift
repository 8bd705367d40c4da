import Access
import HTTPTypes
import Hummingbird
import NIOCore
import Transport
import WebSocket

/// Who a request over HTTP comes from, and what they may do.
struct Callers: Sendable {
    let authority: any Authority
    let gate: ConnectionGate
    /// Whether there are access rules.
    let hasRules: Bool

    /// Whether the caller may see how the server is doing: by credentials that say so, or by being on this machine. Behind
    /// a proxy everybody seems to be on this machine, so what says that it was passed on has to come from elsewhere.
    func mayMonitor(_ request: Request, from address: SocketAddress?) async -> Bool {
        if hasRules, let value = request.headers[.authorization] {
            guard let credential = Credential(authorization: value) else { return false }
            return await grant(of: credential)?.mayMonitor ?? false
        }
        // A page may have been made to lead here by a name of its own (DNS rebinding).
        guard RequestPolicy.isLoopback(request.head.authority ?? "") else { return false }
        let peer = IPAddress(address)
        let lines = request.headers[values: .forwardedFor]
        if lines.isEmpty, request.headers[.forwarded] == nil { return peer?.isLoopback ?? true }
        guard gate.trusts(peer), request.headers[.forwarded] == nil else { return false }
        let elements = lines.flatMap { $0.split(separator: ",", omittingEmptySubsequences: false) }
            .map { $0.trimmingPrefix { $0 == " " } }.map { String($0.prefix { $0 != " " }) }
        guard elements.allSatisfy({ IPAddress($0) != nil }) else { return false }
        return gate.client(of: peer, forwarded: elements)?.isLoopback ?? false
    }

    private func grant(of credential: Credential) async -> Grant? {
        await withCheckedContinuation { continuation in
            authority.check(credential) { continuation.resume(returning: try? $0.get()) }
        }
    }
}

extension HTTPField.Name {
    static let forwardedFor = HTTPField.Name("X-Forwarded-For")!
    static let forwarded = HTTPField.Name("Forwarded")!
}
