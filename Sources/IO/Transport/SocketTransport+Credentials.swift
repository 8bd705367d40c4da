import Access
import Loops
import NIOCore
import SyncEngine
import SyncProtocol

/// Credentials that a client shows after its handshake, in a `hello`.
extension SocketTransport {
    /// Has the credentials of a hello checked. Until that is done, nothing behind it is read.
    func check(_ hello: ClientMessage.Hello, size: Int) {
        guard let secret = hello.token, driver.mayCheckCredentials(hello, size: size, of: id) else { return }
        life.pause(for: .credentials)
        let eventLoop = driver.eventLoop
        let answer = NIOLoopBound(
            { [self] (result: Result<Grant, AccessRefusal>) in
                checked(hello, size: size, result)
            }, eventLoop: eventLoop)
        driver.services.authority.check(Credential(secret)) { result in
            // Also where the answer is there at once: this may be in the middle of reading.
            eventLoop.execute { answer.value(result) }
        }
    }

    private func checked(_ hello: ClientMessage.Hello, size: Int, _ result: Result<Grant, AccessRefusal>) {
        guard context != nil, life.isServing else { return }
        // The rules may have changed since they were asked.
        var result = result
        if case .success(let grant) = result, let problem = driver.services.authority.problem(with: grant) {
            result = .failure(problem)
        }
        driver.receive(.credentials(hello, result), size: size, from: id)
        meet()
        resume(from: .credentials)
        driver.run()
    }
}
