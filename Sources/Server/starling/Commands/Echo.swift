import ArgumentParser
import Loops
import NIOCore
import NIOPosix
import Transport
import WebSocket

/// `starling echo`: for conformance suites.
struct Echo: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Send every WebSocket message back, for conformance suites.", shouldDisplay: false)

    @Option(help: "The port to listen on; 0 takes a free one.")
    var port = 9001

    @Option(help: "The greatest size of a message, in bytes.")
    var maxMessage = 64 << 20

    @Flag(help: "Compress messages where a client offers it.")
    var compress = false

    func run() async throws {
        let limits = TransportLimits(maximumMessageSize: maxMessage, maximumValueSize: maxMessage)
        let listener = try await Listener.bindEcho(
            host: "127.0.0.1", port: port, group: .singleton, limits: limits, path: "/",
            compression: compress ? .dedicated : .off)
        Output.line("echo: ws://127.0.0.1:\(listener.localAddress?.port ?? port)/")
        try await listener.closeFuture.get()
    }
}
