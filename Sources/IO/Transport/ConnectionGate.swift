import NIOCore
import Synchronization

/// Counts connections, in all and by address, for all event loops together.
package final class ConnectionGate: Sendable {
    package struct Limits: Sendable {
        /// In all.
        package var total: Int
        /// From one address, or from one network of 64 bits where addresses have 128; nil: any number.
        package var perAddress: Int?
        /// Whether ``perAddress`` is for this machine's own addresses too.
        package var countsLoopback: Bool
        /// Whose word on where a request comes from is taken (`X-Forwarded-For`).
        package var trustedProxies: [AddressRange]

        package init(
            total: Int = 100_000, perAddress: Int? = nil, countsLoopback: Bool = false,
            trustedProxies: [AddressRange] = []
        ) {
            self.total = total
            self.perAddress = perAddress
            self.countsLoopback = countsLoopback
            self.trustedProxies = trustedProxies
        }
    }

    /// How many connections above the limit are told so, before the next ones are closed without a word.
    private static let margin = 256
    /// Likewise of one address.
    private static let addressMargin = 4

    package struct Counts: Sendable {
        package var open = 0
        /// All that there have been.
        package var accepted: UInt64 = 0
        package var refusedTotal: UInt64 = 0
        package var refusedByAddress: UInt64 = 0
        /// Requests whose head was too large.
        package var refusedHeads: UInt64 = 0
        /// Connections that were not ready in time.
        package var handshakeTimeouts: UInt64 = 0
    }

    private struct State {
        var counts = Counts()
        var byAddress: [IPAddress: Int] = [:]
    }

    let limits: Limits
    private let state = Mutex(State())

    package init(_ limits: Limits) {
        self.limits = limits
    }

    package var counts: Counts { state.withLock { $0.counts } }

    func noteLargeHead() {
        state.withLock { $0.counts.refusedHeads += 1 }
    }

    func noteHandshakeTimeout() {
        state.withLock { $0.counts.handshakeTimeouts += 1 }
    }

    enum Answer {
        case welcome
        /// It may be told that there are too many.
        case full
        /// It is to be closed at once.
        case overrun
    }

    /// A connection was accepted. It counts until ``leave()``.
    func enter() -> Answer {
        state.withLock { state in
            state.counts.open += 1
            state.counts.accepted += 1
            if state.counts.open <= limits.total { return .welcome }
            state.counts.refusedTotal += 1
            return state.counts.open <= limits.total + Self.margin ? .full : .overrun
        }
    }

    /// A connection that was accepted is closed.
    func leave() {
        state.withLock { $0.counts.open -= 1 }
    }

    /// Whether it matters where connections come from.
    var countsAddresses: Bool { limits.perAddress != nil }

    /// A connection is known to come from `address`. Unless there are far too many it counts until it is closed.
    func enter(_ address: IPAddress, with channel: any Channel) -> Answer {
        let answer = enter(address)
        if answer != .overrun, countsAddresses { channel.closeFuture.whenComplete { [self] _ in leave(address) } }
        return answer
    }

    private func enter(_ address: IPAddress) -> Answer {
        guard let limit = limits.perAddress, limits.countsLoopback || !address.isLoopback else { return .welcome }
        return state.withLock { state in
            let count = state.byAddress[address.network, default: 0]
            if count >= limit { state.counts.refusedByAddress += 1 }
            if count >= limit + Self.addressMargin { return .overrun }
            state.byAddress[address.network] = count + 1
            return count < limit ? .welcome : .full
        }
    }

    private func leave(_ address: IPAddress) {
        guard limits.perAddress != nil, limits.countsLoopback || !address.isLoopback else { return }
        state.withLock { state in
            let count = state.byAddress[address.network, default: 0]
            state.byAddress[address.network] = count > 1 ? count - 1 : nil
        }
    }

    /// Whether the peer's word on where its requests come from is taken.
    package func trusts(_ peer: IPAddress?) -> Bool {
        guard let peer else { return false }
        return limits.trustedProxies.contains { $0.contains(peer) }
    }

    /// Where a request comes from, by the word of `peer` and of all proxies behind it that are trusted: the last address in
    /// the list that is no trusted proxy's.
    ///
    /// - Parameter forwarded: the elements of all `X-Forwarded-For` headers, in order.
    package func client(of peer: IPAddress?, forwarded: [String]) -> IPAddress? {
        var client = peer
        for element in forwarded.reversed() {
            guard trusts(client) else { return client }
            // What a trusted proxy says and makes no sense is no address at all.
            guard let next = IPAddress(element) else { return client }
            client = next
        }
        return client
    }
}
