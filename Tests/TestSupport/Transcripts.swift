package import Foundation

/// A transcript of `protocol/vectors`, as JSON, with its name for the test's report.
package struct Transcript: CustomStringConvertible, Sendable {
    package let name: String
    private let json: Data

    package var description: String { name }

    /// The transcript's members.
    package func object() throws -> [String: Any] {
        try JSONSerialization.jsonObject(with: json) as? [String: Any] ?? [:]
    }

    /// What it says is to be done and seen, in order.
    package func steps() throws -> [[String: Any]] { try object()["steps"] as? [[String: Any]] ?? [] }

    /// All transcripts of one file of vectors; none where it cannot be read.
    package static func all(_ file: String) -> [Transcript] {
        let object = try? Vectors.loadObject(file)
        return (object?["transcripts"] as? [[String: Any]] ?? []).compactMap { transcript in
            guard let name = transcript["name"] as? String,
                let json = try? JSONSerialization.data(withJSONObject: transcript)
            else { return nil }
            return Transcript(name: name, json: json)
        }
    }
}
