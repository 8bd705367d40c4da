import Foundation
import SyncProtocol
import Testing

extension ConformanceTests.EncryptionTests {
    @Test("The answer kept of a batch is sealed too: one that was altered is not given, and not taken for none")
    func answers() throws {
        let batch = #"{"type":"batch","id":1,"op":"o","writes":[{"key":"a","value":1}]}"#
        let client = try RawClient.connected(server)
        try client.send(batch)
        #expect(try client.receive(type: "batched").integer("first") == 1)
        #expect(try query("SELECT instr(answer, 'first'), key_id IS NULL FROM answer") == "0|0")
        #expect(try run("check").status == 0)
        server.terminate()
        _ = server.wait()
        _ = try query(
            #"UPDATE answer SET answer = CAST('{"first":7,"count":1,"version":"018bcfe56800-0000-a","batch":"0"}' AS BLOB)"#
        )
        let checked = try run("check")
        #expect(
            checked.status != 0 && (checked.output + checked.errors).contains("an answer that is kept"),
            "\(checked)")
        let again = try ServerProcess(in: folder, options)
        let other = try RawClient.connected(again)
        try other.send(batch)
        #expect(try other.receive(type: "error").string("code") == "storage_failed")
        try other.send(#"{"type":"batch","id":2,"op":"p","writes":[{"key":"a","value":2}]}"#)
        #expect(try other.receive(type: "batched").integer("first") == 2)
    }
}
