import Foundation
import NIOCore
import SyncProtocol
import WebSocket

/// A client that can do what a good one never would: plain blocking calls on a socket, every byte its own.
final class RawClient {
    private let descriptor: Int32
    private var inbound = ByteBuffer()
    private var reader: MessageReader
    private let deflater: FrameDeflater?
    /// How many bytes came, and how many there were in the messages.
    private(set) var received = (onTheWire: 0, inMessages: 0)
    /// The size of the receive buffer and so, roughly, of what the server can send ahead; nil for the usual.
    ///
    /// - Parameter deflate: what is agreed on if the handshake is answered as it should be.
    init(port: Int, receiveBuffer: Int32? = nil, deflate: DeflateParameters? = nil) throws {
        reader = MessageReader(
            role: .client, maximumMessageSize: 64 << 20,
            inflater: deflate.map { Inflater(forgets: $0.serverForgets, windowBits: 15) })
        deflater = deflate.map { FrameDeflater(forgets: $0.clientForgets, windowBits: 15, threshold: 0) }
        #if canImport(Glibc)
            descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        #else
            descriptor = socket(AF_INET, SOCK_STREAM, 0)
        #endif
        if var size = receiveBuffer {
            setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &size, socklen_t(MemoryLayout<Int32>.size))
        }
        // A server that does not answer must fail a test, not hang it.
        var timeout = timeval(tv_sec: 30, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        let connected = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard connected == 0 else { throw TestFailure("cannot connect to port \(port): errno \(errno)") }
    }

    deinit { close(descriptor) }

    /// Connects, shakes hands and takes the welcome.
    static func connected(
        _ server: ServerProcess, token: String? = nil, receiveBuffer: Int32? = nil
    ) throws -> RawClient {
        let client = try RawClient(port: server.port, receiveBuffer: receiveBuffer)
        try client.shakeHands(extra: token.map { "Authorization: Bearer \($0)\r\n" } ?? "")
        let welcome = try client.receive()
        guard welcome.string("type") == "welcome" else { throw TestFailure("no welcome: \(welcome)") }
        return client
    }

    func shakeHands(path: String = "/sync", extra: String = "") throws {
        try send(raw: Self.handshake(path: path, extra: extra))
        let response = try readHead()
        guard response.hasPrefix("HTTP/1.1 101") else { throw TestFailure("no handshake: \(response)") }
    }

    static func handshake(path: String = "/sync", extra: String = "") -> [UInt8] {
        Array(
            """
            GET \(path) HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\(extra)\r\n
            """.utf8)
    }

    // MARK: Out

    func send(raw bytes: [UInt8]) throws {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes {
                Foundation.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { throw TestFailure("cannot send: errno \(errno)") }
            rest = rest.dropFirst(count)
        }
    }

    /// The bytes of a frame, masked as a client's must be.
    static func frame(_ opcode: Opcode, _ payload: [UInt8], masked: Bool = true, isFinal: Bool = true) -> [UInt8] {
        var buffer = ByteBuffer()
        let key = masked ? MaskingKey((0x12, 0x34, 0x56, 0x78)) : nil
        FrameEncoder.write(opcode, payload, isFinal: isFinal, maskingKey: key, to: &buffer)
        return Array(buffer.readableBytesView)
    }

    func send(_ messages: String...) throws {
        try send(raw: messages.flatMap { deflater == nil ? Self.frame(.text, Array($0.utf8)) : compressed($0) })
    }

    private func compressed(_ message: String) -> [UInt8] {
        var frame = ByteBuffer()
        FrameEncoder.write(.text, Array(message.utf8), to: &frame)
        var encoded = deflater?.encode(frame) ?? frame
        guard var header = try? FrameHeader.read(from: &encoded) else { return [] }
        let key = MaskingKey((0x12, 0x34, 0x56, 0x78))
        header.maskingKey = key
        var output = ByteBuffer()
        header.write(to: &output)
        var payload = Array(encoded.readableBytesView)
        payload.withUnsafeMutableBytes { key.apply(from: UnsafeRawBufferPointer($0), to: $0, offset: 0) }
        return Array(output.readableBytesView) + payload
    }

    func sendClose(_ code: CloseCode? = .normalClosure) throws {
        try send(raw: Self.frame(.close, FrameEncoder.closePayload(code)))
    }

    /// Closes the sending side, as `nc -N` does at the end of its input.
    func shutdownSending() {
        shutdown(descriptor, Int32(SHUT_WR))
    }

    /// Has the connection reset when it is closed, as if the machine had gone.
    func resetsAtClose() {
        var linger = linger(l_onoff: 1, l_linger: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout<Foundation.linger>.size))
    }

    // MARK: In

    enum Event: Equatable {
        case message(String)
        case ping([UInt8])
        case pong([UInt8])
        case close(UInt16?)
        case end
    }

    /// The next thing that the server sent.
    func next() throws -> Event {
        while true {
            switch reader.next(from: &inbound) {
            case .text, .binary:
                received.inMessages += reader.payload.readableBytes
                return .message(String(buffer: reader.payload))
            case .ping(let payload): return .ping(payload)
            case .pong(let payload): return .pong(payload)
            case .close(let code, _): return .close(code?.rawValue)
            case .violation(let violation): throw TestFailure("the server broke the protocol: \(violation)")
            case nil: if try !fill() { return .end }
            }
        }
    }

    /// The next message; pings are passed over.
    func receive() throws -> JSONObject {
        while true {
            switch try next() {
            case .message(let text): return try JSONObject(Array(text.utf8))
            // A server pings those who have been silent for long: nobody who waits for a message in earnest.
            case .ping: throw TestFailure("the server sent no message, and then a ping")
            case .pong: continue
            case let other: throw TestFailure("\(other) where a message was awaited")
            }
        }
    }

    /// The next message of one type; others are passed over.
    func receive(type: String) throws -> JSONObject {
        while true {
            let message = try receive()
            if message.string("type") == type { return message }
        }
    }

    /// Everything up to the server's Close, and its code; nil where the connection just ended.
    func receiveAll() throws -> (messages: [JSONObject], close: UInt16?) {
        var messages: [JSONObject] = []
        while true {
            switch try next() {
            case .message(let text): messages.append(try JSONObject(Array(text.utf8)))
            case .ping, .pong: continue
            case .close(let code): return (messages, code)
            case .end: return (messages, nil)
            }
        }
    }

    /// Reads up to the end of a response's head.
    func readHead() throws -> String {
        let end = Array("\r\n\r\n".utf8)
        while true {
            let bytes = Array(inbound.readableBytesView)
            if let index = bytes.indices.first(where: { bytes[$0...].starts(with: end) }) {
                inbound.moveReaderIndex(forwardBy: index + end.count)
                return String(decoding: bytes[..<index], as: UTF8.self)
            }
            if try !fill() { return String(decoding: bytes, as: UTF8.self) }
        }
    }

    /// Reads up to the end of a line.
    func readLine() throws -> String {
        while true {
            let bytes = Array(inbound.readableBytesView)
            if let index = bytes.firstIndex(of: UInt8(ascii: "\n")) {
                inbound.moveReaderIndex(forwardBy: index + 1)
                return String(decoding: bytes[..<index], as: UTF8.self).trimmingCharacters(in: .newlines)
            }
            if try !fill() { return "" }
        }
    }

    /// Reads so many bytes.
    func read(_ count: Int) throws -> [UInt8] {
        while inbound.readableBytes < count { if try !fill() { throw TestFailure("the connection ended") } }
        return inbound.readBytes(length: count) ?? []
    }

    /// Reads to the end of the connection.
    func readAll() throws -> String {
        while try fill() {}
        return String(buffer: inbound)
    }

    /// - Returns: false at the end of the connection.
    private func fill() throws -> Bool {
        let count = inbound.writeWithUnsafeMutableBytes(minimumWritableBytes: 64 * 1024) { buffer in
            max(0, recv(descriptor, buffer.baseAddress, buffer.count, 0))
        }
        received.onTheWire += count
        if count > 0 { return true }
        if errno == EAGAIN { throw TestFailure("the server sent nothing for 30 s") }
        return false
    }
}
