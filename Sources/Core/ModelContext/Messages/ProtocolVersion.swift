/// The revisions of the Model Context Protocol that are spoken here, by their dates.
package enum ProtocolVersion: String, CaseIterable, Comparable, Sendable {
    case november2024 = "2024-11-05"
    case march2025 = "2025-03-26"
    case june2025 = "2025-06-18"
    case november2025 = "2025-11-25"
    /// The first without sessions: each request says itself which version it is by.
    case july2026 = "2026-07-28"

    package static func < (left: ProtocolVersion, right: ProtocolVersion) -> Bool { left.rawValue < right.rawValue }

    /// Whether requests carry their version with them; else `initialize` agrees on one.
    package var isModern: Bool { self >= .july2026 }
    /// The newest one that begins with `initialize`.
    package static let newestLegacy = ProtocolVersion.november2025
    /// Of a request over HTTP that belongs to an MCP session and names none (2025-06-18, *Protocol Version Header*).
    package static let unnamed = ProtocolVersion.march2025

    /// Whether tools say what they answer, and answer so.
    var hasStructuredContent: Bool { self >= .june2025 }
    /// Whether tools say whether they change something.
    var hasAnnotations: Bool { self >= .march2025 }

    /// All of them, the newest first, as a JSON array.
    static var json: [UInt8] {
        Array(("[" + allCases.sorted(by: >).map { "\"\($0.rawValue)\"" }.joined(separator: ",") + "]").utf8)
    }
}
