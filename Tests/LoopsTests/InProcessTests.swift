import NIOCore
import SyncProtocol
import Testing

@testable import Loops

struct InProcessTests {
    @Test("A message is put together as on the wire, and its answer is known by its number")
    func messages() throws {
        var message = SyncMessage("broadcast")
        message.add("key", "a\"b")
        try message.add("value", json: ByteBuffer(string: " {\"x\":[1]} "))
        message.add("limit", 5)
        message.add("cursors", true)
        message.add("session", String?.none)
        #expect(
            String(buffer: message.message(number: 7))
                == #"{"type":"broadcast","key":"a\"b","value": {"x":[1]} ,"limit":5,"cursors":true,"id":7}"#)
        #expect(String(buffer: SyncMessage("ping").message(number: nil)) == #"{"type":"ping"}"#)
    }

    @Test(
        "What is not one value of JSON becomes no member of a message",
        arguments: [
            "", " ", "1,\"fence\":1", "1}", "{", "[1,]", "1 2", "nul", "\"a\nb\"", "{\"a\":1}{", "\u{1}",
            String(repeating: "[", count: 200) + String(repeating: "]", count: 200),
        ])
    func values(text: String) {
        var message = SyncMessage("broadcast")
        #expect(throws: WireError.self) { try message.add("value", json: ByteBuffer(string: text)) }
        #expect(String(buffer: message.message(number: nil)) == #"{"type":"broadcast"}"#)
    }

    @Test("Who a message is for is known by how it begins, whatever is behind that")
    func addressees() {
        for (text, addressee) in [
            (#"{"type":"ack","id":12,"key":"k"}"#, .asker(12)), (#"{"type":"error","id":0,"code":"x"}"#, .asker(0)),
            (#"{"type":"welcome","id":3,"server":"s"}"#, .asker(3)), (#"{"type":"welcome","server":"s"}"#, .nobody),
            (#"{"type":"subscribed","id":"0","pattern":"*"}"#, .everybody),
            (#"{"type":"update","key":"id","value":{"id":5}}"#, .everybody),
            (#"{"type":"bye","code":"idle","id":5}"#, .everybody), ("{}", .everybody), ("", .everybody),
            (#"{"type":"error","code":"x","id":1}"#, .everybody),
        ] as [(String, ServerMessage.Addressee)] {
            #expect(ServerMessage.addressee(of: ByteBuffer(string: text)) == addressee, "\(text)")
        }
    }
}
