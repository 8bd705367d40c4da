import Registers
import SyncEngine
import SyncProtocol
import Testing

@testable import StarlingServer

struct CommitMailboxTests {
    private var mailbox = CommitMailbox()

    private func writes(_ count: Int, bytes: Int = 1) throws -> [WriteRequest] {
        let write = ClientMessage.Write(key: try Key("k"), value: Array(repeating: 0x31, count: bytes))
        return Array(repeating: WriteRequest(write: write, agent: Agent(random: 0), origin: .server), count: count)
    }

    private mutating func look(wanted: Int = 1) -> String {
        switch mailbox.look(wanted: wanted) {
        case .taken(let requests): "\(requests.count)"
        case .few: "few"
        case .none: "none"
        case .closed: "closed"
        }
    }

    private mutating func put(_ requests: [WriteRequest]) -> CommitMailbox.Receipt { mailbox.put(requests) }

    @Test("The reader is woken once, and not before as many are there as it waits for")
    mutating func waking() throws {
        #expect(look() == "none")
        #expect(try put(writes(1)) == .queuedForSleeper)
        #expect(try put(writes(1)) == .queued)
        #expect(look(wanted: 4) == "few")
        #expect(try put(writes(1)) == .queued)
        #expect(try put(writes(2)) == .queuedForSleeper)
        #expect(look(wanted: 4) == "5")
        #expect(try put(writes(1)) == .queued)
        #expect(look() == "1")
        #expect(look() == "none")
    }

    @Test("A commit takes so many rows, and so much; what is left is taken next, in order")
    mutating func portions() throws {
        #expect(try put(writes(5_000)) == .queued)
        #expect(look() == "4096")
        #expect(look() == "904")
        #expect(try put(writes(20, bytes: 1 << 20)) == .queued)
        #expect(look() == "16")
        #expect(look() == "4")
        #expect(look() == "none")
    }

    @Test("More than there is room for is refused as a whole, unless there is nothing else")
    mutating func limit() throws {
        let large = try writes(1, bytes: CommitMailbox.maximumCost + 1)
        #expect(put(large) == .queued)
        #expect(put(large) == .refused)
        #expect(try put(writes(1)) == .refused)
        #expect(look() == "1")
        #expect(try put(writes(1)) == .queued)
    }

    @Test("After the end nothing is taken in, and what was is carried out without waiting for more")
    mutating func end() throws {
        #expect(try put(writes(2)) == .queued)
        mailbox.close()
        #expect(try put(writes(1)) == .refused)
        #expect(look(wanted: 32) == "2")
        #expect(look(wanted: 32) == "closed")
    }
}
