/// Whether a request may be carried out at all, whatever it asks for: the one check of where it comes from, before any route and
/// before any handshake.
///
/// It is about pages in browsers. Programs send neither `Origin` nor `Sec-Fetch-Site`, and are who their credentials say.
package struct RequestPolicy: Sendable {
    /// Origins that are let in besides the server's own, like `https://app.example.com`; `*` stands for any.
    package var allowed: Set<String>
    /// Whether the server's own origin has to be this machine by name.
    package var isLoopbackOnly: Bool
    /// Whether `Host` has to name this machine, or the host of an origin that is let in. A page whose own name is made to lead
    /// to this machine for a moment (DNS rebinding) sends no `Origin` with a GET, and all that gives it away is that name.
    package var requiresLocalHost: Bool

    package init(allowed: Set<String> = [], isLoopbackOnly: Bool = false, requiresLocalHost: Bool = false) {
        self.allowed = allowed
        self.isLoopbackOnly = isLoopbackOnly
        self.requiresLocalHost = requiresLocalHost
    }

    /// Why a request is not carried out.
    package enum Refusal: Error, Equatable, Sendable {
        /// It asks for another host.
        case host(String)
        /// It comes from a page that may not.
        case origin(String)
        /// It comes from a page of another site, which does not say which.
        case crossSite

        package var status: String {
            switch self {
            case .host: "421 Misdirected Request"
            case .origin, .crossSite: "403 Forbidden"
            }
        }

        package var message: String {
            switch self {
            case .host(let host):
                "this server is for its own machine, which is not called \(host): use localhost or 127.0.0.1, or let others in with --access"
            case .origin(let origin): "pages from \(origin) may not connect; --allow-origin admits more origins"
            case .crossSite: "pages of other sites may not ask for this; --allow-origin admits origins"
            }
        }
    }

    /// - Parameters:
    ///   - host: the `Host` header, or the authority of the target.
    ///   - origin: the `Origin` header.
    ///   - fetchSite: the `Sec-Fetch-Site` header (https://www.w3.org/TR/fetch-metadata/).
    /// - Returns: nil when it may be carried out.
    package func check(host: String, origin: String?, fetchSite: String?) -> Refusal? {
        if requiresLocalHost, !Self.isLoopback(host), !isHostOfAllowedOrigin(host) { return .host(host) }
        if let origin { return admits(origin, host: host) ? nil : .origin(origin) }
        switch fetchSite?.lowercased() {
        case "cross-site", "same-site": return .crossSite
        default: return nil
        }
    }

    /// Whether a page from `origin` may connect to the server that it calls `host`.
    package func admits(_ origin: String, host: String) -> Bool {
        if allowed.contains("*") || allowed.contains(origin) { return true }
        let parts = origin.split(separator: "://", maxSplits: 1)
        guard parts.count == 2, parts[1].lowercased() == host.lowercased() else { return false }
        return !isLoopbackOnly || Self.isLoopback(host)
    }

    private func isHostOfAllowedOrigin(_ host: String) -> Bool {
        allowed.contains { origin in
            origin == "*" || origin.split(separator: "://", maxSplits: 1).last?.lowercased() == host.lowercased()
        }
    }

    /// Whether a `Host` names this machine, whatever its port.
    package static func isLoopback(_ host: String) -> Bool {
        let host = host.lowercased()
        if host.hasPrefix("[") { return host.hasPrefix("[::1]") }
        let name = host.prefix { $0 != ":" }
        let octets = name.split(separator: ".", omittingEmptySubsequences: false)
        return name == "localhost"
            || (octets.first == "127" && octets.count == 4 && octets.allSatisfy { UInt8($0) != nil })
    }
}
