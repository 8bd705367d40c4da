import TestSupport
import Testing

@testable import StarlingClient

/// What every client does, by protocol/vectors/clients.json. (Patterns, clocks, versions and merges are those of `Registers`,
/// whose tests run their vectors.)
struct TranscriptTests {
    static let transcripts = Transcript.all("clients")

    @Test("There are transcripts")
    func exist() { #expect(Self.transcripts.count > 20) }

    @Test("The client keeps to the transcript", arguments: transcripts)
    func transcript(_ transcript: Transcript) throws {
        let player = Player(try transcript.object())
        for (index, step) in try transcript.steps().enumerated() {
            do {
                try player.step(step)
            } catch {
                Issue.record("step \(index + 1), \(step): \(error)")
                return
            }
        }
    }
}
