package import Logging
import NIOCore
import Registers
import SQLiteStore
import ServiceLifecycle
import SyncEngine
import SyncProtocol
import Transport
import WebSocket

/// The server: where database, committer, event loops and routes meet. As a service it runs until it is asked to shut
/// down, and then answers what it has begun before it stops.
package struct Server: Service {
    private let configuration: ServerConfiguration
    private let logger: Logger
    private let whenReady: @Sendable (_ port: Int) -> Void

    /// - Parameter whenReady: is called with the port once connections are accepted.
    package init(
        configuration: ServerConfiguration, logger: Logger, whenReady: @escaping @Sendable (_ port: Int) -> Void
    ) {
        self.configuration = configuration
        self.logger = logger
        self.whenReady = whenReady
    }

    package func run() async throws {
        try BindPolicy.check(configuration.host, port: configuration.port, isOpenAllowed: configuration.isOpenAllowed)
        let engine: Engine
        do {
            engine = try Engine(configuration: configuration, logger: logger)
        } catch let error as StoreError {
            throw ServerError(error.description)
        }
        let listener: any Channel
        do {
            listener = try await engine.listen()
        } catch {
            await engine.stop()
            throw ServerError("cannot listen on \(configuration.host):\(configuration.port): \(error)")
        }
        let port = listener.localAddress?.port ?? configuration.port
        logger.info("Listening", metadata: ["host": "\(configuration.host)", "port": "\(port)"])
        whenReady(port)

        try? await gracefulShutdown()

        logger.info("Stopping")
        try? await listener.close()
        await engine.stop()
        logger.info("Stopped")
    }
}
