import Registers
import SyncProtocol
import Testing

@Suite("Messages about memories")
struct MemoryMessageTests {
    private let decoder = ClientMessageDecoder(maximumValueSize: 1 << 20)

    private func write(_ text: String) throws -> ClientMessage.Write {
        guard case .write(let write) = try decoder.decode(Array(text.utf8).span) else {
            throw WireError(.unknownType, "no write")
        }
        return write
    }

    private func code(_ text: String) -> ErrorCode? {
        do throws(WireError) {
            _ = try decoder.decode(Array(text.utf8).span)
            return nil
        } catch {
            return error.code
        }
    }

    @Test(
        "What is put is a plain write, whose metadata asks for its time of creation and keeps what its writer has there"
    )
    func put() throws {
        let put = try write(
            #"{"type":"memory.put","id":7,"agent":"a:b","key":"x/y","value":[1],"ttl":1.5,"tags":["t"],"refresh_on_read":true,"metadata":{"mine":1},"session":"s","op":"o"}"#
        )
        #expect("\(put.key)" == "memory:a%3Ab:x/y" && put.timeToLive == 1_500)
        #expect(put.record.bytes(of: .value) == Array("[1]".utf8) && put.record.bytes(of: .op) == Array("o".utf8))
        let metadata = String(decoding: put.record.bytes(of: .metadata) ?? [], as: UTF8.self)
        #expect(metadata == #"{"starling":{"created_at":0,"ttl":1.5,"refresh_on_read":true,"tags":["t"]},"mine":1}"#)
        #expect(CreationTime.isAsked(by: put.record))
        let first = CreationTime.filled(put.record, replacing: nil, at: 5_000_000)
        let second = CreationTime.filled(put.record, replacing: first, at: 9_000_000)
        #expect(MemoryMetadata(second.bytes(of: .metadata)).createdAt == 5_000)
        #expect(MemoryMetadata(second.bytes(of: .metadata)).tags == [Array("t".utf8)])
        #expect(second.bytes(of: .session) == Array("s".utf8))
    }

    @Test(
        "What is mistyped, or the server's own, is refused",
        arguments: [
            (#"{"type":"memory.put","agent":"a","key":"k","value":1,"tll":5}"#, ErrorCode.badMessage),
            (#"{"type":"memory.put","agent":"a","key":"k"}"#, .missingField),
            (#"{"type":"memory.put","key":"k","value":1}"#, .missingField),
            (#"{"type":"memory.put","agent":"a","key":"","value":1}"#, .badKey),
            (#"{"type":"memory.put","agent":"a","key":"k","value":1,"refresh_on_read":true}"#, .missingField),
            (#"{"type":"memory.put","agent":"a","key":"k","value":1,"metadata":{"starling":1}}"#, .badMessage),
            (#"{"type":"memory.put","agent":"a","key":"k","value":1,"tags":[""]}"#, .badMessage),
            (#"{"type":"memory.put","agent":"a","key":"k","value":1,"key":"j"}"#, .badMessage),
            (#"{"type":"memory.get","agent":"a"}"#, .missingField),
            (#"{"type":"search"}"#, .missingField),
            (#"{"type":"search","query":"a","in":["tasks"]}"#, .badMessage),
            (#"{"type":"search","query":"a","limit":101}"#, .badMessage),
            (#"{"type":"knowledge.put","topic":"t","content":"c","confidence":1.1}"#, .badMessage),
            (#"{"type":"knowledge.put","topic":"t","content":"c","confidence":"1"}"#, .badMessage),
            (#"{"type":"knowledge.put","topic":"","content":"c"}"#, .badMessage),
        ])
    func refused(text: String, code: ErrorCode) { #expect(self.code(text) == code, "\(text)") }

    @Test("What system and orchestrator share is the register of that name, these four and nothing wider")
    func shared() throws {
        for (agent, name, key) in [
            ("system", "task:7:status", "task:7:status"), ("orchestrator", "task:7:breakdown", "task:7:breakdown"),
            ("system", "execution:7:progress", "execution:7:progress"), ("system", "swarm:s:config", "swarm:s:config"),
            ("system", "task:7", "memory:system:task:7"), ("system", "task:7:claim", "memory:system:task:7:claim"),
            ("system", "task::status", "memory:system:task::status"),
            ("ada", "task:7:status", "memory:ada:task:7:status"),
            ("system", "swarm:s:task:t", "memory:system:swarm:s:task:t"), ("system", "a", "memory:system:a"),
        ] {
            let memory = MemoryKey(agent: try Segment(agent), name: Array(name.utf8))
            #expect(try "\(memory.key())" == key)
            if !memory.isShared { #expect(MemoryKey(try Key(key)) == memory) }
        }
        #expect(try MemoryKey(Key("memory:a")) == nil && MemoryKey(Key("memory:a:")) == nil)
        #expect(try MemoryKey(Key("memory:%zz:x")) == nil && MemoryKey(Key("memories:a:b")) == nil)
    }
}
