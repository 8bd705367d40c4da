package import Access
package import NIOCore
import SyncEngine

/// What an API is given, and all that it is given: it says who somebody is, and makes connections for them.
package struct InProcessConnections: Sendable {
    private let drivers: [LoopDriver]
    private let authority: any Authority

    package init(_ drivers: [LoopDriver], _ authority: any Authority) {
        self.drivers = drivers
        self.authority = authority
    }

    /// What the bearer of some credentials may do.
    ///
    /// - Parameter credential: nil: none were brought.
    package func grant(for credential: Credential?) async throws(AccessRefusal) -> Grant {
        guard let credential else { return authority.anonymous }
        let result = await withCheckedContinuation { continuation in
            authority.check(credential) { continuation.resume(returning: $0) }
        }
        return try result.get()
    }

    /// Makes a connection.
    ///
    /// - Parameters:
    ///   - eventLoop: where whoever asks for it is at home; one of the server's.
    ///   - isTaken: whether ``InProcessConnection/next(within:)`` will be called: else what is not asked for is thrown away.
    /// - Throws: ``AccessRefusal`` where the rules have changed since they were asked.
    package func open(
        _ grant: Grant, on eventLoop: any EventLoop, isTaken: Bool
    ) async throws(AccessRefusal) -> InProcessConnection {
        let driver = drivers.first { $0.eventLoop === eventLoop } ?? drivers[0]
        let authority = authority
        let result: Result<InProcessConnection, AccessRefusal> = await withCheckedContinuation { continuation in
            driver.eventLoop.execute {
                if let problem = authority.problem(with: grant) {
                    return continuation.resume(returning: .failure(problem))
                }
                let transport = InProcessTransport(driver, isTaken: isTaken)
                transport.connected(as: driver.connect(transport, grant: grant))
                driver.run()
                continuation.resume(returning: .success(InProcessConnection(transport, driver.eventLoop)))
            }
        }
        return try result.get()
    }
}
