import Foundation
import SyncProtocol
import TestSupport
import Testing

extension ConformanceTests {
    /// The conversations of protocol/vectors/transcripts.json, with the real server.
    struct TranscriptTests {
        static let transcripts = Transcript.all("transcripts")

        @Test("There are transcripts")
        func exist() { #expect(Self.transcripts.count > 15) }

        @Test("The server keeps to the transcript", arguments: transcripts)
        func transcript(_ transcript: Transcript) throws {
            let server = try ServerProcess()
            let client = try RawClient.connected(server)
            var names: [String: Any] = [:]
            for step in try transcript.steps() {
                if let message = step["send"] {
                    let data = try JSONSerialization.data(
                        withJSONObject: Self.fill(message, names), options: .withoutEscapingSlashes)
                    try client.send(String(decoding: data, as: UTF8.self))
                } else if let expected = step["expect"] {
                    let text = try nextMessage(client)
                    let actual = try JSONSerialization.jsonObject(with: Data(text.utf8))
                    let mismatch = Self.mismatch(expected, actual, &names, at: "")
                    try #require(mismatch == nil, "\(mismatch ?? "") in \(text)")
                }
            }
        }

        private func nextMessage(_ client: RawClient) throws -> String {
            while true {
                guard case .message(let text) = try client.next() else { continue }
                if !text.hasPrefix(#"{"type":"welcome""#) { return text }
            }
        }

        /// Puts the values of names in.
        private static func fill(_ message: Any, _ names: [String: Any]) -> Any {
            switch message {
            case let text as String where text.hasPrefix("$"): names[text] ?? text
            case let object as [String: Any]: object.mapValues { fill($0, names) }
            case let array as [Any]: array.map { fill($0, names) }
            default: message
            }
        }

        /// What of `expected` is not in `actual`; nil when all of it is.
        private static func mismatch(_ expected: Any, _ actual: Any?, _ names: inout [String: Any], at path: String)
            -> String?
        {
            switch expected {
            case let text as String where text == "$any":
                return actual == nil ? "\(path) is missing" : nil
            case let text as String where text.hasPrefix("$"):
                if let known = names[text] { return mismatch(known, actual, &names, at: path) }
                names[text] = actual
                return actual == nil ? "\(path) is missing" : nil
            case let object as [String: Any]:
                guard let actual = actual as? [String: Any] else { return "\(path) is no object" }
                for (field, value) in object where field != "$absent" {
                    if let problem = mismatch(value, actual[field], &names, at: "\(path).\(field)") { return problem }
                }
                for field in object["$absent"] as? [String] ?? [] where actual[field] != nil {
                    return "\(path).\(field) is there"
                }
                return nil
            case let array as [Any]:
                guard let actual = actual as? [Any], actual.count == array.count else {
                    return "\(path) has another length"
                }
                for (index, value) in array.enumerated() {
                    if let problem = mismatch(value, actual[index], &names, at: "\(path)[\(index)]") { return problem }
                }
                return nil
            default:
                guard let left = expected as? NSObject, let right = actual as? NSObject, left == right else {
                    return "\(path) is \(actual ?? "missing") where \(expected) is expected"
                }
                return nil
            }
        }
    }
}
