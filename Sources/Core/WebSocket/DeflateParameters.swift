/// How messages of a connection are compressed: permessage-deflate (RFC 7692), as a server and a client agreed on it.
package struct DeflateParameters: Equatable, Sendable {
    /// Whether each message from the server is compressed by itself (section 7.1.1.1): only then can many clients be sent the
    /// same bytes.
    package var serverForgets: Bool
    /// Whether each message from the client is (section 7.1.1.2).
    package var clientForgets: Bool
    /// How many bits the offsets in messages from the server have at most, 9 to 15 (section 7.1.2.1).
    package var serverWindowBits: Int
    /// Likewise from the client (section 7.1.2.2).
    package var clientWindowBits: Int

    package init(serverForgets: Bool, clientForgets: Bool, serverWindowBits: Int, clientWindowBits: Int) {
        self.serverForgets = serverForgets
        self.clientForgets = clientForgets
        self.serverWindowBits = serverWindowBits
        self.clientWindowBits = clientWindowBits
    }

    static let name = "permessage-deflate"

    /// What a server is ready to do.
    package enum Policy: String, CaseIterable, Sendable {
        /// Nothing is compressed.
        case off
        /// Each message is compressed once for all clients: no client costs memory.
        case shared
        /// Each client has a compressor of its own, which remembers what it was sent.
        case dedicated
    }

    /// The window of ``Policy/shared``: one for all. Greater ones compress what is sent here hardly better.
    package static let sharedWindowBits = 12
    /// The greatest window that a client's own compressor uses: 69 KB, in the place of 261 for 15 bits.
    private static let dedicatedWindowBits = 13

    /// Takes the first of a client's offers that can be taken.
    ///
    /// - Parameter offers: the elements of all `Sec-WebSocket-Extensions` headers, in order.
    /// - Returns: what is agreed on, and what to answer; nil for no compression.
    static func negotiate(_ offers: [String], _ policy: Policy) -> (parameters: DeflateParameters, answer: String)? {
        if policy == .off { return nil }
        for text in offers {
            if let offer = Offer(text), let agreed = offer.accepted(by: policy) { return agreed }
        }
        return nil
    }

    /// One offer of a client (section 7.1).
    private struct Offer {
        var serverForgets = false
        var clientForgets = false
        var serverWindowBits: Int?
        /// nil: the client did not say that it can limit its window; 15 where it said no number.
        var clientWindowBits: Int?

        /// - Returns: nil when it is of another extension, or has a parameter that is unknown, stands twice or has a value
        ///   that it must not have (section 7.1: such an offer is to be declined).
        init?(_ text: String) {
            let parts = text.split(separator: ";", omittingEmptySubsequences: false).map(Self.trim)
            guard parts.first?.lowercased() == DeflateParameters.name else { return nil }
            var seen: Set<String> = []
            for part in parts.dropFirst() {
                let pair = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(Self.trim)
                let name = pair[0].lowercased()
                guard seen.insert(name).inserted else { return nil }
                let value = pair.count == 2 ? Self.unquote(pair[1]) : nil
                switch (name, value) {
                case ("server_no_context_takeover", nil): serverForgets = true
                case ("client_no_context_takeover", nil): clientForgets = true
                case ("server_max_window_bits", let value?):
                    guard let bits = Self.bits(value) else { return nil }
                    serverWindowBits = bits
                case ("client_max_window_bits", nil): clientWindowBits = 15
                case ("client_max_window_bits", let value?):
                    guard let bits = Self.bits(value) else { return nil }
                    clientWindowBits = bits
                default: return nil
                }
            }
        }

        private static func trim(_ text: some StringProtocol) -> String {
            String(text.drop { $0 == " " || $0 == "\t" }.reversed().drop { $0 == " " || $0 == "\t" }.reversed())
        }

        private static func unquote(_ text: String) -> String {
            text.count >= 2 && text.hasPrefix("\"") && text.hasSuffix("\"") ? String(text.dropFirst().dropLast()) : text
        }

        /// 8 to 15, without a leading zero.
        private static func bits(_ text: String) -> Int? {
            guard let bits = Int(text), 8...15 ~= bits, text == "\(bits)" else { return nil }
            return bits
        }

        func accepted(by policy: Policy) -> (parameters: DeflateParameters, answer: String)? {
            let isShared = policy == .shared
            let limit = serverWindowBits ?? 15
            // A window of 8 bits is more than zlib can do for raw deflate; one less than everybody's cannot be shared.
            guard limit >= (isShared ? DeflateParameters.sharedWindowBits : 9) else { return nil }
            let parameters = DeflateParameters(
                serverForgets: isShared || serverForgets, clientForgets: isShared || clientForgets,
                serverWindowBits: isShared
                    ? DeflateParameters.sharedWindowBits : min(limit, DeflateParameters.dedicatedWindowBits),
                clientWindowBits: clientWindowBits.map { max(9, $0) } ?? 15)
            var answer = [DeflateParameters.name]
            if parameters.serverForgets { answer.append("server_no_context_takeover") }
            if parameters.clientForgets { answer.append("client_no_context_takeover") }
            if serverWindowBits != nil { answer.append("server_max_window_bits=\(parameters.serverWindowBits)") }
            if clientWindowBits != nil { answer.append("client_max_window_bits=\(parameters.clientWindowBits)") }
            return (parameters, answer.joined(separator: "; "))
        }
    }

    /// Whether the server's messages are compressed as for all others that agreed on the same.
    package var isShared: Bool { serverForgets && clientForgets && serverWindowBits == Self.sharedWindowBits }

    /// What reads the client's messages.
    package func makeInflater() -> Inflater {
        Inflater(forgets: clientForgets, windowBits: clientWindowBits)
    }

    /// What compresses the server's messages.
    package func makeDeflater(threshold: Int = FrameDeflater.threshold) -> FrameDeflater {
        FrameDeflater(forgets: serverForgets, windowBits: serverWindowBits, threshold: threshold)
    }
}
