/// The head of an HTTP/1.1 request, as far as a handshake needs it (RFC 9112).
package struct RequestHead: Equatable, Sendable {
    package var method: String
    package var target: String
    /// The HTTP version's digits: (1, 1) for `HTTP/1.1`.
    package var version: (major: Int, minor: Int)
    /// Names in lower case, values without the white space around them, in the order they came.
    package var headers: [(name: String, value: String)]

    package init(
        method: String, target: String, version: (major: Int, minor: Int) = (1, 1),
        headers: [(name: String, value: String)]
    ) {
        self.method = method
        self.target = target
        self.version = version
        self.headers = headers
        resolveTarget()
    }

    package static func == (left: RequestHead, right: RequestHead) -> Bool {
        left.method == right.method && left.target == right.target && left.version == right.version
            && left.headers.elementsEqual(right.headers, by: ==)
    }

    /// Reads a head.
    ///
    /// - Parameter bytes: the head with its line ends, up to and with the empty line.
    /// - Returns: nil when it is not well-formed.
    package init?(_ bytes: some Collection<UInt8>) {
        // Values may have bytes that are no UTF-8 (section 5.5 of RFC 9110): they are nothing to us, and no reason to refuse the rest.
        let text = String(validating: bytes, as: UTF8.self) ?? String(bytes.lazy.map { Character(Unicode.Scalar($0)) })
        var lines = text.utf8.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
            .map { $0.last == UInt8(ascii: "\r") ? $0.dropLast() : $0 }
        while lines.last?.isEmpty == true { lines.removeLast() }
        guard let first = lines.first else { return nil }

        let words = first.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
        guard words.count == 3, !words[0].isEmpty, !words[1].isEmpty else { return nil }
        let protocolName = Array(words[2])
        guard protocolName.count == 8, protocolName.starts(with: Array("HTTP/".utf8)),
            protocolName[6] == UInt8(ascii: "."),
            let major = Int(String(decoding: [protocolName[5]], as: UTF8.self)),
            let minor = Int(String(decoding: [protocolName[7]], as: UTF8.self))
        else { return nil }

        var headers: [(name: String, value: String)] = []
        for line in lines.dropFirst() {
            guard let colon = line.firstIndex(of: UInt8(ascii: ":")), colon > line.startIndex,
                line[..<colon].allSatisfy(Self.isTokenByte)
            else { return nil }
            let value = line[line.index(after: colon)...]
            // Section 5.5: a value with one of these is to be refused, or it could be two for somebody else.
            guard value.allSatisfy({ $0 >= 0x20 && $0 != 0x7F || $0 == UInt8(ascii: "\t") }) else { return nil }
            headers.append(
                (String(line[..<colon])?.lowercased() ?? "", Self.trim(value)))
        }
        guard words[0].allSatisfy(Self.isTokenByte), words[1].allSatisfy({ $0 > 0x20 && $0 != 0x7F }) else {
            return nil
        }
        self.init(
            method: String(words[0]) ?? "", target: String(words[1]) ?? "", version: (major, minor), headers: headers)
    }

    /// Where the target is a whole URL, as it is for proxies, the host is that one's (section 3.2.2).
    private mutating func resolveTarget() {
        let lowercased = target.prefix(8).lowercased()
        guard let scheme = ["http://", "https://"].first(where: { lowercased.hasPrefix($0) }) else { return }
        let rest = target.dropFirst(scheme.count)
        let authority = rest.prefix { $0 != "/" && $0 != "?" }
        let path = rest.dropFirst(authority.count)
        target = path.first == "/" ? String(path) : "/" + path
        headers.removeAll { $0.name == "host" }
        headers.append(("host", String(authority)))
    }

    /// Why others could read the request in another way than we do; nil where they cannot. What decides who may ask for something has to be
    /// there once, and to be well-formed: who stands in front of us may have looked at another one (RFC 9112, section 3.2).
    package var ambiguity: String? {
        for name in ["host", "origin", "sec-fetch-site"] where values(name).count > 1 {
            return "a request has one \(name) header"
        }
        guard let host = values("host").first else {
            return version >= (1, 1) ? "an HTTP/1.1 request has a host header" : nil
        }
        return Self.isAuthority(host) ? nil : "the host header is no name or address with a port"
    }

    /// Whether a text is a host with or without a port (RFC 3986, section 3.2.2 and 3.2.3), or empty.
    private static func isAuthority(_ text: String) -> Bool {
        var rest = text.utf8[...]
        if rest.first == UInt8(ascii: "[") {
            guard let end = rest.firstIndex(of: UInt8(ascii: "]")) else { return false }
            let address = rest[rest.index(after: rest.startIndex)..<end]
            guard !address.isEmpty, address.allSatisfy({ isHexDigit($0) || ":.".utf8.contains($0) }) else {
                return false
            }
            rest = rest[rest.index(after: end)...]
        } else {
            rest = rest.drop { $0 != UInt8(ascii: ":") && (isHexDigit($0) || isNameByte($0)) }
        }
        guard let colon = rest.first else { return true }
        let port = rest.dropFirst()
        return colon == UInt8(ascii: ":") && port.count <= 5
            && port.allSatisfy { UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 }
    }

    private static func isNameByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"): true
        default: "-._~%!$&'()*+,;=".utf8.contains(byte)
        }
    }

    private static func isHexDigit(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "f"),
            UInt8(ascii: "A")...UInt8(ascii: "F"):
            true
        default: false
        }
    }

    /// The target without its query.
    package var path: String { String(target.prefix { $0 != "?" }) }

    /// The values of all headers called `name`.
    package func values(_ name: String) -> [String] {
        headers.filter { $0.name == name }.map(\.value)
    }

    /// The elements of all headers called `name`, each of which is a list with commas.
    package func elements(_ name: String) -> [String] {
        values(name).flatMap { $0.split(separator: ",") }
            .map { Self.trim($0.utf8) }
            .filter { !$0.isEmpty }
    }

    /// Whether a list header has `token`, in whatever case.
    package func has(_ token: String, in name: String) -> Bool {
        elements(name).contains { $0.lowercased() == token }
    }

    private static func isTokenByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"):
            true
        default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
        }
    }

    private static func trim(_ text: Substring.UTF8View) -> String {
        let isSpace = { (byte: UInt8) in byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") }
        guard let first = text.firstIndex(where: { !isSpace($0) }), let last = text.lastIndex(where: { !isSpace($0) })
        else { return "" }
        return String(text[first...last]) ?? ""
    }
}
