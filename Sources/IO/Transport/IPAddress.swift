package import NIOCore

/// The address of a machine: 16 bytes, of which an IPv4 address has the last four (RFC 4291, section 2.5.5.2).
package struct IPAddress: Hashable, Sendable, CustomStringConvertible {
    /// The first eight bytes, and the last eight.
    let high: UInt64
    let low: UInt64

    private init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    private static let mappedPrefix: UInt64 = 0xFFFF << 32

    /// Reads what `SocketAddress` prints: `192.0.2.1`, `2001:db8::1`; also in brackets, and also with a port behind it,
    /// as some proxies write.
    package init?(_ text: String) {
        var text = text[...]
        if text.hasPrefix("[") {
            guard let end = text.firstIndex(of: "]") else { return nil }
            text = text[text.index(after: text.startIndex)..<end]
        } else if text.count(where: { $0 == ":" }) == 1 {
            text = text.prefix { $0 != ":" }
        }
        guard let address = try? SocketAddress(ipAddress: String(text), port: 0) else { return nil }
        self.init(address)
    }

    /// nil for what is no address of a network: a Unix domain socket.
    package init?(_ address: SocketAddress?) {
        switch address {
        case .v4(let address):
            // struct sockaddr_in: the address is behind two bytes of family and two of port.
            self.init(high: 0, low: Self.mappedPrefix | Self.word(in: address.address, from: 4, length: 4))
        case .v6(let address):
            // struct sockaddr_in6: behind four more bytes of flow.
            self.init(
                high: Self.word(in: address.address, from: 8, length: 8),
                low: Self.word(in: address.address, from: 16, length: 8))
        case .unixDomainSocket, nil: return nil
        }
    }

    private static func word(in address: some Any, from start: Int, length: Int) -> UInt64 {
        withUnsafeBytes(of: address) { $0[start..<(start + length)].reduce(0) { $0 << 8 | UInt64($1) } }
    }

    package var isIPv4: Bool { high == 0 && low >> 32 == Self.mappedPrefix >> 32 }

    package var isLoopback: Bool { isIPv4 ? low >> 24 & 0xFF == 127 : high == 0 && low == 1 }

    /// What counts as one origin of connections: the address, or the network of 64 bits, whose addresses one machine can
    /// all have.
    var network: IPAddress { isIPv4 ? self : IPAddress(high: high, low: 0) }

    /// The first `length` bits of 128.
    func prefix(_ length: Int) -> IPAddress {
        func masked(_ word: UInt64, _ bits: Int) -> UInt64 {
            bits <= 0 ? 0 : bits >= 64 ? word : word & ~(.max >> UInt64(bits))
        }
        return IPAddress(high: masked(high, length), low: masked(low, length - 64))
    }

    package var description: String {
        if isIPv4 {
            return stride(from: 24, through: 0, by: -8).map { "\(low >> UInt64($0) & 0xFF)" }.joined(separator: ".")
        }
        return [high, low].flatMap { word in
            stride(from: 48, through: 0, by: -16).map { String(word >> UInt64($0) & 0xFFFF, radix: 16) }
        }.joined(separator: ":")
    }
}

/// Addresses that begin alike: `10.0.0.0/8`, or one address.
package struct AddressRange: Equatable, Sendable {
    private let prefix: IPAddress
    private let length: Int

    /// Reads the notation of RFC 4632, section 3.1; nil when it is not that.
    package init?(_ text: String) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let address = parts.first.flatMap({ IPAddress(String($0)) }) else { return nil }
        let bits = address.isIPv4 ? 32 : 128
        var length = bits
        if parts.count == 2 {
            guard let given = Int(parts[1]), 0...bits ~= given else { return nil }
            length = given
        }
        self.length = length + 128 - bits
        prefix = address.prefix(self.length)
    }

    package func contains(_ address: IPAddress) -> Bool {
        address.prefix(length) == prefix
    }
}
