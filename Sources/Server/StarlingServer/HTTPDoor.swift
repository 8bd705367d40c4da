import HTTPTypes
import Hummingbird
import HummingbirdCore
import Logging
import NIOCore

/// Serves HTTP on channels that turned out not to be WebSockets, by Hummingbird's router and channel handlers.
struct HTTPDoor: Sendable {
    private let channel: HTTP1Channel
    private let logger: Logger

    init(responder: some HTTPResponder<HTTPContext>, logger: Logger) {
        self.logger = logger
        var configuration = HTTP1Channel.Configuration(idleTimeout: .seconds(60))
        configuration.httpDecoder = .init(
            maxHeaderFieldSize: 16_384, maxHeaderListSize: 65_536, maxHeaderFieldCount: 100)
        channel = HTTP1Channel(
            responder: { request, writer, channel in
                let context = HTTPContext(source: .init(channel: channel, logger: logger))
                let response: Response
                do {
                    response = try await responder.respond(to: request, context: context)
                } catch let error as any HTTPResponseError {
                    response = try error.response(from: request, context: context)
                } catch {
                    logger.error("HTTP route failed", metadata: ["error": "\(error)", "path": "\(request.uri.path)"])
                    response = Response(status: .internalServerError)
                }
                try await writer.write(response: response.head, body: response.body)
            }, configuration: configuration)
    }

    /// Adds the handlers to a channel; on its event loop.
    func take(_ channel: any Channel) throws {
        let logger = logger
        let http = self.channel
        let value = http.setup(channel: channel, logger: logger)
        value.whenSuccess { value in
            // Unstructured: the connection outlives the handler that handed it over, and ends by itself.
            Task { await http.handle(value: value, logger: logger) }
        }
        value.whenFailure { _ in channel.close(promise: nil) }
    }
}

/// What a route knows of a request's connection.
struct HTTPContext: RequestContext {
    var coreContext: CoreRequestContextStorage
    /// Where the request came from.
    let remoteAddress: SocketAddress?

    init(source: ApplicationRequestContextSource) {
        coreContext = .init(source: source)
        remoteAddress = source.channel.remoteAddress
    }
}
