import Access
import Loops
import NIOCore
import NIOEmbedded
import Registers
import Simulation
import SyncEngine
import SyncProtocol
import Synchronization
import Testing
import WebSocket

@testable import Transport

/// A connection behind a socket, from bytes to bytes: on a channel in memory, with a clock that is moved by hand.
final class SocketTransportTests {
    private static let framing: Framing = { FrameEncoder.writeText(to: &$0, $1) }

    private let channel = EmbeddedChannel()
    private let driver: LoopDriver
    private let transport: SocketTransport
    private var committer: Committer<SimulatedDisk, NoRules>

    init() throws {
        let disk = SimulatedDisk()
        let state = StoreState(epoch: disk.epoch, head: 0, clockBound: .zero, collectedRevision: 0)
        committer = Committer(
            store: disk, state: state, loops: 1, maximumDrift: 60_000, cacheSize: 1 << 20, rules: NoRules(),
            framing: Self.framing)
        let welcome = Welcome(
            server: "", node: "", limits: .init(value: 1 << 20, message: 1 << 21, subscriptions: 9, drift: 0),
            pingInterval: 0)
        let queued = Queued()
        driver = LoopDriver(
            eventLoop: channel.embeddedEventLoop, loop: 0,
            shard: Shard(configuration: .init(loop: 0, welcome: welcome, framing: Self.framing), state: state),
            limits: TransportLimits(
                maximumMessageSize: 1 << 20, maximumValueSize: 1 << 20, pingInterval: .seconds(5),
                pingTimeout: .seconds(10)),
            services: LoopServices(
                submitWrites: { requests in
                    queued.writes.withLock { $0 += requests }
                    return true
                }, submitRead: { _, _ in }, head: { 0 }, now: { 1_000 }, random: { 1 }, unframe: { [$0] }))
        self.queued = queued
        transport = SocketTransport(loop: SocketLoop(driver), gate: nil, deflate: nil, isEncrypted: false)
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        try channel.pipeline.syncOperations.addHandler(transport)
        transport.open(response: ByteBuffer(string: "HTTP/1.1 101\r\n\r\n"), rest: ByteBuffer(), grant: .unrestricted)
    }

    private final class Queued: Sendable {
        let writes = Mutex<[WriteRequest]>([])
    }

    private let queued: Queued

    private var waiting: Int { queued.writes.withLock { $0.count } }

    /// Frames as a client masks them, in one read.
    private func send(_ texts: String..., opcode: Opcode = .text, isMasked: Bool = true) throws {
        var bytes = ByteBuffer()
        for text in texts {
            let payload = Array(text.utf8)
            #expect(payload.count < 126)
            bytes.writeBytes([0x80 | opcode.rawValue, (isMasked ? 0x80 : 0) | UInt8(payload.count)])
            if isMasked { bytes.writeBytes([0, 0, 0, 0]) }
            bytes.writeBytes(payload)
        }
        try channel.writeInbound(bytes)
        channel.embeddedEventLoop.run()
    }

    /// What the client has got since: the types and ids of messages, control frames, and what else there is.
    private func received() throws -> [String] {
        var all = ByteBuffer()
        while var part = try channel.readOutbound(as: ByteBuffer.self) { all.writeBuffer(&part) }
        var seen: [String] = []
        if String(buffer: all).hasPrefix("HTTP") {
            seen.append("response")
            all.moveReaderIndex(forwardBy: 16)
        }
        while let header = try FrameHeader.read(from: &all), let payload = all.readSlice(length: header.payloadLength) {
            switch header.opcode {
            case .text:
                let message = try JSONObject(Array(payload.readableBytesView))
                seen.append([message.string("type"), message.string("id")].compactMap { $0 }.joined(separator: " "))
            case .close: seen.append("close \(payload.getInteger(at: payload.readerIndex, as: UInt16.self) ?? 0)")
            default: seen.append("\(header.opcode)")
            }
        }
        return seen
    }

    /// Has the committer carry out what waits for it.
    private func commit() {
        let requests = queued.writes.withLock { writes in
            defer { writes = [] }
            return writes
        }
        driver.deliver(.committed(committer.commit(requests, now: 1_000).0))
        // Connections take turns, by the clock.
        channel.embeddedEventLoop.advanceTime(by: .milliseconds(10))
    }

    private static func write(_ id: Int) -> String { #"{"type":"broadcast","id":"\#(id)","key":"k","value":1}"# }

    @Test(
        "The response comes first, then the welcome; errors end nothing; Close is answered behind all that was asked for"
    )
    func life() throws {
        #expect(try received() == ["response", "welcome"])
        try send(#"{"type":"ping","id":"p"}"#, "no JSON", Self.write(1))
        #expect(try received() == ["pong p", "error"])
        try send("", opcode: .close)
        #expect(try received() == [])
        commit()
        #expect(try received() == ["ack 1", "close 0"])
    }

    @Test("A client that sends no more is still told what became of what it sent")
    func halfClosed() throws {
        _ = try received()
        try send(Self.write(1))
        channel.pipeline.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
        channel.embeddedEventLoop.run()
        #expect(channel.isActive)
        commit()
        #expect(try received().first == "ack 1")
    }

    @Test("A frame that no client may send ends the connection, and says why")
    func violation() throws {
        _ = try received()
        try send(Self.write(1), isMasked: false)
        #expect(try received() == ["close 1002"])
        #expect(waiting == 0)
        try send(Self.write(2))
        #expect(waiting == 0)
    }

    @Test("What is too much to be under way is left unread, and taken once there is room")
    func saturated() throws {
        _ = try received()
        for id in 0..<1_100 { try send(Self.write(id)) }
        #expect(waiting == 1_024)
        commit()
        #expect(try received().count == 1_024)
        #expect(waiting == 76)
        commit()
        #expect(try received().last == "ack 1099")
    }

    @Test("A silent client is pinged, and one that does not answer is cut off; whatever it sends is an answer")
    func keepAlive() throws {
        _ = try received()
        let start = NIODeadline.now()
        #expect(transport.check(at: start + .seconds(6)) == .alive)
        #expect(try received() == ["ping"])
        try send("", opcode: .pong)
        #expect(transport.check(at: start + .seconds(6)) == .alive)
        _ = transport.check(at: start + .seconds(20))
        #expect(try received() == ["ping"])
        #expect(transport.check(at: start + .seconds(40)) == .unresponsive)
    }

    @Test("A channel that closes takes its connection with it")
    func gone() throws {
        _ = try received()
        try send(Self.write(1))
        try channel.close().wait()
        channel.embeddedEventLoop.run()
        let measured = driver.measure()
        channel.embeddedEventLoop.run()
        #expect(try measured.wait().counters.connections == 0)
        // The answer finds nobody.
        commit()
    }
}
