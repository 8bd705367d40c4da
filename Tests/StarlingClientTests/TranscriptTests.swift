import Foundation
import TestSupport
import Testing

@testable import StarlingClient

/// What every client does, by protocol/vectors/clients.json. (Patterns, clocks, versions and merges are those of `Registers`,
/// whose tests run their vectors.)
struct TranscriptTests {
    struct Transcript: CustomTestStringConvertible, Sendable {
        let name: String
        let json: Data
        var testDescription: String { name }
    }

    static let transcripts: [Transcript] = {
        let object = try? Vectors.loadObject("clients")
        return (object?["transcripts"] as? [[String: Any]] ?? []).compactMap { transcript in
            guard let name = transcript["name"] as? String,
                let data = try? JSONSerialization.data(withJSONObject: transcript)
            else { return nil }
            return Transcript(name: name, json: data)
        }
    }()

    @Test("There are transcripts")
    func exist() { #expect(Self.transcripts.count > 20) }

    @Test("The client keeps to the transcript", arguments: transcripts)
    func transcript(_ transcript: Transcript) throws {
        let object = try #require(try JSONSerialization.jsonObject(with: transcript.json) as? [String: Any])
        let player = Player(object)
        for (index, step) in (object["steps"] as? [[String: Any]] ?? []).enumerated() {
            do {
                try player.step(step)
            } catch {
                Issue.record("step \(index + 1), \(step): \(error)")
                return
            }
        }
    }
}
