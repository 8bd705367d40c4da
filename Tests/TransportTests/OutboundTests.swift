import NIOCore
import Registers
import SyncEngine
import Testing
import Transport

/// The one way out, over a socket that takes as much as a test says.
struct OutboundTests {
    private final class FakeSocket: OutboundSocket {
        /// How many bytes the kernel takes before it is full; nil where there is no way to it.
        var room: Int?
        var isBroken = false
        /// Everything that went out, in order.
        var wire: [UInt8] = []
        /// What waits in the channel.
        var queued: [ByteBuffer] = []
        var finishes = 0

        init(room: Int?) { self.room = room }

        func sendNow(_ bytes: UnsafeRawBufferPointer) -> SendResult {
            if isBroken { return .failed }
            guard let room else { return .unavailable }
            let count = min(room, bytes.count)
            precondition(queued.isEmpty || count == 0, "past what is queued")
            wire += bytes.prefix(count)
            self.room = room - count
            return .sent(count)
        }

        func writeLater(_ bytes: ByteBuffer) { queued.append(bytes) }

        func finish() { finishes += 1 }

        /// The kernel has room again: the channel writes what is queued.
        func drain(_ outbound: Outbound) -> Bool {
            var isEmpty = false
            while !queued.isEmpty {
                wire += Array(queued.removeFirst().readableBytesView)
                isEmpty = outbound.wrote()
            }
            return isEmpty
        }
    }

    private let frames = [Array("first frame".utf8), Array("the second one".utf8)]

    @Test("A short write at every offset of two frames loses nothing and mixes nothing", arguments: 0...25)
    func shortWrites(offset: Int) {
        let socket = FakeSocket(room: offset)
        let outbound = Outbound(socket: socket)
        outbound.send(ByteBuffer(bytes: frames[0] + frames[1]))
        outbound.send(ByteBuffer(bytes: [1, 2, 3]))
        #expect(socket.wire.count == min(offset, 25))
        // More room for the kernel is no reason to overtake what is queued.
        socket.room = 1_000
        outbound.send(ByteBuffer(bytes: [4]))
        if offset < 25 { #expect(outbound.backlog > 0) }
        _ = socket.drain(outbound)
        outbound.send(ByteBuffer(bytes: [5]))
        #expect(socket.wire == frames[0] + frames[1] + [1, 2, 3, 4, 5])
        #expect(outbound.backlog == 0)
    }

    @Test(
        "What waits and may be dropped is dropped whole, in order; what is begun, and every reply, is sent",
        arguments: 0...40)
    func dropped(room: Int) throws {
        let socket = FakeSocket(room: room)
        let outbound = Outbound(socket: socket)
        var deliveries: [Delivery] = []
        var expected: [UInt8] = []
        for index in 0..<6 as Range<UInt8> {
            let bytes = [UInt8](repeating: index, count: 10)
            let isReply = index == 3
            let delivery = Delivery(frames: ByteBuffer(bytes: bytes), slots: [0], before: Revision(UInt64(index)))
            deliveries.append(delivery)
            outbound.send(delivery.frames, of: isReply ? nil : delivery)
            // Begun: what the kernel took at least a part of, or the channel was given.
            if isReply || Int(index) * 10 <= room { expected += bytes }
        }
        let dropped = outbound.drop()
        let begun = min(6, room / 10 + 1)
        let wanted = deliveries.enumerated().filter { $0.offset >= begun && $0.offset != 3 }.map(\.element)
        #expect(dropped.count == wanted.count && zip(dropped, wanted).allSatisfy { $0 === $1 })
        socket.room = 1_000
        _ = socket.drain(outbound)
        #expect(socket.wire == expected)
        #expect(outbound.backlog == 0)
    }

    @Test("Without a way past the channel, everything goes through it")
    func unavailable() {
        let socket = FakeSocket(room: nil)
        let outbound = Outbound(socket: socket)
        for frame in frames { outbound.send(ByteBuffer(bytes: frame)) }
        #expect(socket.queued.count == 1 && outbound.backlog > 0)
        #expect(socket.drain(outbound))
        #expect(socket.wire == frames[0] + frames[1])
    }

    @Test("The backlog counts the whole of a shared buffer, and a small remainder is copied out of it")
    func cost() {
        let shared = ByteBuffer(bytes: [UInt8](repeating: 7, count: 10_000))
        let mostly = FakeSocket(room: 100)
        let first = Outbound(socket: mostly)
        first.send(shared)
        #expect(first.backlog >= 10_000)
        let barely = FakeSocket(room: 9_990)
        let second = Outbound(socket: barely)
        second.send(shared)
        #expect(second.backlog < 100)
        #expect(barely.queued[0].readableBytes == 10)
    }

    @Test("The end comes behind everything sent, once, and nothing comes behind it")
    func finish() {
        let socket = FakeSocket(room: 3)
        let outbound = Outbound(socket: socket)
        outbound.send(ByteBuffer(bytes: frames[0]))
        outbound.finish()
        outbound.finish()
        outbound.send(ByteBuffer(bytes: frames[1]))
        #expect(socket.finishes == 1)
        _ = socket.drain(outbound)
        outbound.send(ByteBuffer(bytes: frames[1]))
        #expect(socket.wire == frames[0])
    }

    @Test("A broken connection is noted, and takes nothing more")
    func broken() {
        let socket = FakeSocket(room: 100)
        let outbound = Outbound(socket: socket)
        socket.isBroken = true
        outbound.send(ByteBuffer(bytes: frames[0]))
        #expect(outbound.hasFailed)
        socket.isBroken = false
        outbound.send(ByteBuffer(bytes: frames[1]))
        #expect(socket.wire.isEmpty && socket.queued.isEmpty)
    }

    @Test("Writes that end after the connection are no news")
    func lateWrites() {
        let socket = FakeSocket(room: 0)
        let outbound = Outbound(socket: socket)
        outbound.send(ByteBuffer(bytes: frames[0]))
        outbound.closed()
        #expect(!outbound.wrote())
        #expect(outbound.backlog == 0)
    }
}
