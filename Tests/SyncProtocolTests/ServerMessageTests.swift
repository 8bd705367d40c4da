import NIOCore
import Registers
import SyncProtocol
import Testing

/// What goes over the wire, to the letter.
struct ServerMessageTests {
    private func text(_ body: (inout ByteBuffer) -> Void) -> String {
        var buffer = ByteBuffer()
        body(&buffer)
        return String(buffer: buffer)
    }

    private func register() throws -> Register {
        Register(
            key: try Key("task:\"1\""), version: try Version("018bcfe56800-0001-planner"),
            value: Array("{\"a\": 1}".utf8))
    }

    @Test("Updates")
    func updates() throws {
        var register = try register()
        #expect(
            text { ServerMessage.writeUpdate(register, revision: 7, to: &$0) }
                == #"{"type":"update","key":"task:\"1\"","value":{"a": 1},"version":"018bcfe56800-0001-planner","timestamp":1700000000000,"agent":"planner","revision":7}"#
        )
        register.expiresAt = 1_700_000_060_000
        register.metadata = Array("{}".utf8)
        register.session = Array("s\"".utf8)
        #expect(
            text { ServerMessage.writeUpdate(register, revision: nil, to: &$0) }
                == #"{"type":"update","key":"task:\"1\"","value":{"a": 1},"version":"018bcfe56800-0001-planner","timestamp":1700000000000,"agent":"planner","expires_at":1700000060000,"metadata":{},"session":"s\"","transient":true}"#
        )
        #expect(
            text { ServerMessage.writeUpdate(register.expired, revision: 8, to: &$0) }
                == #"{"type":"update","key":"task:\"1\"","value":null,"deleted":true,"version":"018bcfe56800-0001-planner","timestamp":1700000000000,"agent":"planner","revision":8,"expires_at":1700000060000,"cause":"expired"}"#
        )
    }

    @Test("Answers to writes")
    func acknowledgements() throws {
        let id = RequestID(json: Array("\"b\"".utf8))
        let key = try Key("k")
        let register = try register()
        func answer(_ outcome: WriteOutcome) -> String {
            text { ServerMessage.writeOutcome(outcome, id: id, key: key, to: &$0) }
        }
        #expect(
            answer(.applied(version: register.version, revision: 3))
                == #"{"type":"ack","id":"b","key":"k","version":"018bcfe56800-0001-planner","revision":3,"applied":true,"durable":true}"#
        )
        #expect(
            answer(.conditionFailed(current: nil))
                == #"{"type":"ack","id":"b","key":"k","applied":false,"durable":false,"reason":"condition","current":null}"#
        )
        #expect(
            answer(.refused(WireError(.drift, "too far", hint: "wait", clocks: .init(timestamp: 2, serverTime: 1))))
                == #"{"type":"error","id":"b","code":"drift","message":"too far","retry":false,"hint":"wait","timestamp":2,"server_time":1}"#
        )
    }

    @Test("Answers to subscriptions")
    func subscriptions() throws {
        let id = RequestID(json: Array("7".utf8))
        let cursor = Cursor(epoch: Epoch(1), revision: 5)
        let pattern = try Pattern("a\\*")
        #expect(
            text { ServerMessage.writeSubscribed(id: id, pattern: pattern, cursor: cursor, replace: true, to: &$0) }
                == #"{"type":"subscribed","id":7,"pattern":"a\\*","cursor":"0000000000000001:5","replace":true}"#)
        #expect(
            text { ServerMessage.writeSynced(id: id, cursor: cursor, count: 2, to: &$0) }
                == #"{"type":"synced","id":7,"cursor":"0000000000000001:5","count":2}"#)
        #expect(
            text { ServerMessage.writeBye(code: "shutting_down", reason: "r", retryAfter: 1_000, to: &$0) }
                == #"{"type":"bye","code":"shutting_down","reason":"r","retry_after_ms":1000}"#)
    }

    @Test("Everything written is one JSON object")
    func wellFormed() throws {
        let register = try register()
        let welcome = Welcome(
            server: "s", node: "n", limits: .init(value: 1, message: 2, subscriptions: 3, drift: 4), pingInterval: 5)
        let agent = try Agent("a")
        let texts = [
            text {
                ServerMessage.writeWelcome(
                    welcome, id: nil, cursor: Cursor(epoch: Epoch(1), revision: 0), time: 1, agent: agent, to: &$0)
            },
            text { ServerMessage.writeGot(id: nil, key: register.key, (register, 1), to: &$0) },
            text { ServerMessage.writeGot(id: nil, key: register.key, nil, to: &$0) },
            text {
                ServerMessage.writeListed(id: nil, [(register, 1), (register.expired, 2)], next: register.key, to: &$0)
            },
            text { ServerMessage.writeListed(id: nil, [], next: nil, to: &$0) },
            text { ServerMessage.writePong(id: nil, time: 1, to: &$0) },
            text {
                ServerMessage.writeOutcome(
                    .superseded(version: register.version, winner: StoredRegister(register, revision: 1)), id: nil,
                    key: register.key, to: &$0)
            },
        ]
        for text in texts { #expect(throws: Never.self, "\(text)") { try JSONObject(Array(text.utf8)) } }
    }
}
