import HTTPTypes
import SyncProtocol

/// What a version is called in HTTP (RFC 9110, section 8.8.3): the version in quotes, with every byte percent-encoded that a tag, or a
/// shell, might trip over. An agent's name may be any text.
enum EntityTag {
    static func text(of version: String) -> String {
        "\"" + Percent.encode(version, unless: isPlain) + "\""
    }

    /// The version of the one tag that a header has.
    ///
    /// - Throws: ``Problem`` where it has another form: a condition that is not understood is never passed over.
    static func version(_ header: String, of name: HTTPField.Name) throws(Problem) -> String {
        let isQuoted = header.utf8.count > 2 && header.hasPrefix("\"") && header.hasSuffix("\"")
        let opaque = header.dropFirst().dropLast()
        guard isQuoted, !opaque.contains("\""), let version = Percent.decode(opaque) else {
            throw Problem(
                .badMessage,
                "\(name) is \(header); it is one strong tag in quotes, as an ETag header has given it, and no list, no * and no W/"
            )
        }
        return version
    }

    /// What a caller knows, as `If-None-Match` with a `GET` says it (RFC 9110, section 13.1.2): a list, compared weakly, since a proxy that
    /// compresses an answer makes its tag weak.
    struct Known {
        /// nil: whatever there is (`*`).
        var versions: [String]?

        /// The one version that it is, where it is one.
        var only: String? { versions?.count == 1 ? versions?.first : nil }

        func match(_ version: String?) -> Bool { versions?.contains { $0 == version } ?? true }
    }

    static func versions(_ header: String) -> Known {
        if header.allSatisfy({ "* ".contains($0) }) { return Known() }
        // No tag of ours has a comma or a quote in it.
        let tags = header.split(separator: ",").map { $0.drop { $0 == " " } }
        return Known(
            versions: tags.compactMap { tag in
                let strong = tag.hasPrefix("W/") ? tag.dropFirst(2) : tag
                return try? version(String(strong.prefix { $0 != " " }), of: .ifNoneMatch)
            })
    }

    private static func isPlain(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"):
            true
        default: "._~-".utf8.contains(byte)
        }
    }
}
