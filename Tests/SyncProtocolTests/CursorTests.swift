import Registers
import SyncProtocol
import Testing

struct CursorTests {
    @Test("Cursors survive being written and read")
    func roundTrip() throws {
        let epoch = Epoch(0x0123_4567_89AB_CDEF)
        let cursors = [
            Cursor(epoch: epoch, revision: 0), Cursor(epoch: epoch, revision: 42, digest: 7),
            Cursor(epoch: epoch, revision: Revision(UInt64(Int64.max) / 20), digest: .max),
            Cursor(epoch: epoch, revision: 3, digest: 1, lastKey: try Key("a~b@c:d")),
            Cursor(epoch: epoch, revision: 3, lastKey: try Key("é")),
        ]
        for cursor in cursors { #expect(Cursor(cursor.bytes) == cursor) }
        #expect(String(decoding: cursors[1].bytes, as: UTF8.self) == "0123456789abcdef:42~00000007")
    }

    @Test("What a server adds that is one of several is passed over")
    func vectors() throws {
        let epoch = Epoch(0x0123_4567_89AB_CDEF)
        let added = "^018bcfe56800.n1:5,n2:7~x"
        let cursor = Cursor(epoch: epoch, revision: 42, digest: 7, lastKey: try Key("a^b@c"))
        #expect(Cursor(Array("0123456789abcdef:42~00000007\(added)@a^b@c".utf8)) == cursor)
        #expect(Cursor(Array("0123456789abcdef:42\(added)".utf8)) == Cursor(epoch: epoch, revision: 42))
        #expect(Cursor(Array("0123456789abcdef:42\(added)@".utf8)) == nil)
    }

    @Test("Anything else is no cursor")
    func invalid() {
        for text in [
            "", "0123456789abcdef", "0123456789abcdef:", "0123456789ABCDEF:1", "0123456789abcdef:-1",
            "0123456789abcdef:1x", "0123456789abcdef:1~", "0123456789abcdef:1~000000g0", "0123456789abcdef:1@",
            "0123456789abcdef:99999999999999999999", "123456789abcdef:1",
        ] {
            #expect(Cursor(Array(text.utf8)) == nil, "\(text)")
        }
    }
}
