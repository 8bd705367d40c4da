import Registers
import SyncProtocol
import Testing

@testable import Agents

struct SessionSummaryTests {
    private func register(_ key: String, _ value: String, at time: Int = 5_000) throws -> JSONObject {
        try JSONObject(Array(#"{"key":"\#(key)","value":\#(value),"timestamp":\#(time)}"#.utf8))
    }

    @Test("A summary is counted from what there is, and what nobody knows is null")
    func counts() throws {
        var summary = SessionSummary()
        #expect(summary.isEmpty)
        for (index, file) in ["a", "b", "a"].enumerated() {
            summary.add(
                try register("session:s:edit:t\(index)", #"{"file":"\#(file)","changes":[]}"#, at: 10_000 + index))
        }
        let started = #"{"event":"started","data":{"hook":"UserPromptSubmit"}}"#
        let helper = #"{"event":"started","data":{"hook":"SubagentStart"}}"#
        for (index, value) in [
            started, started, helper, #"{"event":"tool_failed"}"#, #"{"event":"completed"}"#, #"{"event":7}"#,
        ].enumerated() {
            summary.add(try register("session:s:log:\(index)", value))
        }
        summary.add(try register("session:s:last", #"{"message":"All is done."}"#))
        summary.add(try register("session:s:present", #"{"started_at":4}"#))
        summary.add(try register("session:s:summary", #"{"metrics":{"prompts":99}}"#))
        summary.add(try register("session:s:unknown:x", "1"))
        #expect(
            String(decoding: summary.text, as: UTF8.self) == "3 edits of 2 files: a, b. 1 task completed. All is done.")
        let json = try JSONObject(
            summary.json(
                session: Segment("s"), agent: Array("ada".utf8), reason: nil, at: WallTime(milliseconds: 64_000)))
        let metrics = try #require(json.object("metrics"))
        let expected =
            ["prompts": 2, "edits": 3, "files": 2, "tool_failures": 1, "tasks_completed": 1, "seconds": 60]
            as [String: Int64]
        for (name, count) in expected { #expect(metrics.integer(name) == count, "\(name)") }
        #expect(json.raw("reason") == Array("null".utf8))
        let empty = try JSONObject(
            SessionSummary().json(session: Segment("s"), agent: [0x61], reason: nil, at: WallTime(milliseconds: 1)))
        #expect(empty.object("metrics")?.raw("seconds") == Array("null".utf8))
    }

    @Test("Keys of sessions are read as they are written, whatever the names")
    func keys() throws {
        for name in ["s", "a:b", "100%", "ä"] {
            let session = try Segment(name)
            for key in [
                SessionKey.edit(session, id: Array("t".utf8)), .log(session, stamp: Array("1".utf8)), .last(session),
                .present(session),
                .summary(session),
            ] {
                #expect(SessionKey(key.key) == key)
                #expect(try Pattern(SessionKey.pattern(session)).matches(key.key))
            }
        }
        for key in ["session:s", "session:s:x", "session:%41:last", "sessions:s:last", "session:s:edit:a:b"] {
            #expect(SessionKey(try Key(key)) == nil, "\(key)")
        }
    }
}
