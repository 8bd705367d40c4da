import Access
import HTTPTypes
import Hummingbird
import NIOCore
import Transport

/// Who a request over HTTP comes from, and what they may do.
struct Callers: Sendable {
    let authority: any Authority
    let gate: ConnectionGate
    /// Whether there are access rules.
    let hasRules: Bool

    /// Whether the caller may see how the server is doing: by credentials that say so, or by being on this machine. Behind
    /// a proxy everybody seems to be on this machine, so what says that it was passed on has to come from elsewhere.
    func mayMonitor(_ request: Request, from address: SocketAddress?) async -> Bool {
        if let value = request.headers[.authorization] {
            guard let credential = Credential(authorization: value) else { return false }
            return await grant(of: credential)?.mayMonitor ?? false
        }
        let peer = IPAddress(address)
        let forwarded = request.headers[values: .forwardedFor].flatMap { $0.split(separator: ",") }
            .map { $0.trimmingPrefix { $0 == " " } }.map { String($0.prefix { $0 != " " }) }
        if !forwarded.isEmpty, !gate.trusts(peer) { return false }
        return gate.client(of: peer, forwarded: forwarded)?.isLoopback ?? true
    }

    private func grant(of credential: Credential) async -> Grant? {
        await withCheckedContinuation { continuation in
            authority.check(credential) { continuation.resume(returning: try? $0.get()) }
        }
    }
}

extension HTTPField.Name {
    static let forwardedFor = HTTPField.Name("X-Forwarded-For")!
}
