import Foundation
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
    private let reloads: AsyncStream<Void>
    private let whenReady: @Sendable (_ port: Int) -> Void

    /// - Parameters:
    ///   - reloads: an element for each time that access rules and certificates are to be read again.
    ///   - whenReady: is called with the port once connections are accepted.
    package init(
        configuration: ServerConfiguration, logger: Logger, reloads: AsyncStream<Void> = AsyncStream { _ in },
        whenReady: @escaping @Sendable (_ port: Int) -> Void
    ) {
        self.configuration = configuration
        self.reloads = reloads
        self.logger = logger
        self.whenReady = whenReady
    }

    package func run() async throws {
        try BindPolicy.check(
            configuration.host, port: configuration.port,
            isOpenAllowed: configuration.isOpenAllowed || configuration.access != nil)
        let frontend: Frontend
        let backend: Backend
        do {
            frontend = try Frontend(configuration: configuration, logger: logger)
            backend = try Backend(
                configuration: configuration, authority: frontend.authority, memory: frontend.memory,
                cipher: frontend.cipher, logger: logger)
        } catch let error as StoreError {
            throw ServerError(error.description)
        } catch let error as CertificateError {
            throw ServerError(error.description)
        }
        let listener: any Channel
        do {
            listener = try await frontend.listen(for: backend)
        } catch {
            _ = await stop(frontend, backend)
            throw ServerError("cannot listen on \(configuration.host):\(configuration.port): \(Self.reason(error))")
        }
        let port = listener.localAddress?.port ?? configuration.port
        logger.info("Listening", metadata: ["host": "\(configuration.host)", "port": "\(port)"])
        whenReady(port)

        let reloading = Task {
            for await _ in reloads { frontend.requestReload() }
        }
        await stopIsWanted(frontend)
        reloading.cancel()

        logger.info("Stopping")
        try? await listener.close()
        let failure = await stop(frontend, backend)
        logger.info("Stopped")
        if let failure { throw ServerError("\(failure)") }
    }

    /// Waits until somebody wants the server to stop, or nobody has wanted it for long.
    private func stopIsWanted(_ frontend: Frontend) async {
        guard let patience = configuration.idleExit else {
            try? await gracefulShutdown()
            return
        }
        await withTaskGroup { group in
            group.addTask { try? await gracefulShutdown() }
            group.addTask { [logger] in
                guard await frontend.isUnused(for: patience) else { return }
                logger.notice("Nobody was connected for \(patience.components.seconds) s: stopping")
            }
            await group.next()
            group.cancelAll()
        }
    }

    /// Stops in the order in which things depend on each other.
    ///
    /// - Returns: why the database could not be closed as it should be.
    private func stop(_ frontend: Frontend, _ backend: Backend) async -> StoreError? {
        frontend.stop()
        await backend.drain()
        await frontend.answersAreWritten()
        return await backend.stop()
    }

    /// Why a port could not be had, without what it is called in the kernel where that is known.
    private static func reason(_ error: any Error) -> String {
        guard let code = (error as? IOError)?.errnoCode else { return "\(error)" }
        return switch code {
        case EADDRINUSE: "something listens there already; stop it, or choose another --port"
        case EADDRNOTAVAIL: "this machine does not have that address"
        case EACCES: "ports below 1024 are for root"
        default: String(cString: strerror(code))
        }
    }
}
