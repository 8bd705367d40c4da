package import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization

/// Sends requests over HTTP to one server, and has each response read bit by bit. Connections are kept for a while for the next request.
package final class HTTPConnections: Sendable {
    /// A request was not sent: there was no connection to be had.
    package struct NotSent: Error {
        package let reason: ClientError
    }

    /// The head of a response.
    package struct Head: Sendable {
        package let status: Int
        private let headers: HTTPHeaders

        fileprivate init(_ head: HTTPResponseHead) {
            status = Int(head.status.code)
            headers = head.headers
        }

        package func header(_ name: String) -> String? { headers.first(name: name) }
    }

    package struct Request: Sendable {
        package var method: String
        /// With the query.
        package var path: String
        package var headers: [(name: String, value: String)]
        package var body: [UInt8]

        package init(_ method: String, path: String, headers: [(name: String, value: String)], body: [UInt8] = []) {
            self.method = method
            self.path = path
            self.headers = headers
            self.body = body
        }
    }

    /// The body of a response, as it comes.
    package struct Body {
        fileprivate var parts: NIOAsyncChannelInboundStream<HTTPClientResponsePart>.AsyncIterator
        fileprivate(set) var isAtEnd = false

        /// - Returns: what comes next; nil at the end.
        /// - Throws: ``ClientError`` where the connection ends before that.
        package mutating func next() async throws -> ByteBuffer? {
            while !isAtEnd {
                switch try await parts.next() {
                case .body(let bytes): return bytes
                case .head: continue
                case .end: isAtEnd = true
                case nil: throw ClientError(.unavailable, "the connection ended in the middle of a response")
                }
            }
            return nil
        }
    }

    package typealias Reader = @Sendable (Head, inout Body) async throws -> Void
    private typealias Channel = NIOAsyncChannel<HTTPClientResponsePart, HTTPClientRequestPart>
    private typealias Jobs = AsyncStream<Job>

    private struct Job: Sendable {
        let request: Request
        let read: Reader
        let done: CheckedContinuation<Result<Void, any Error>, Never>
    }

    /// One connection: where it is given requests.
    private final class Link: Sendable {
        private enum State {
            case connecting
            case connected(any NIOCore.Channel)
            case cut
        }

        let jobs: Jobs.Continuation
        private let state = Mutex(State.connecting)

        init(_ jobs: Jobs.Continuation) { self.jobs = jobs }

        /// - Returns: false where it is not wanted any more.
        func connected(_ channel: any NIOCore.Channel) -> Bool {
            state.withLock { state in
                if case .cut = state { return false }
                state = .connected(channel)
                return true
            }
        }

        /// Whether the server has not closed it.
        var isOpen: Bool {
            state.withLock { state in
                switch state {
                case .connecting: true
                case .connected(let channel): channel.isActive
                case .cut: false
                }
            }
        }

        /// Ends it, in the middle of a response too.
        func cut() {
            jobs.finish()
            let last = state.withLock { state in
                defer { state = .cut }
                return state
            }
            if case .connected(let channel) = last { channel.close(promise: nil) }
        }
    }

    private struct Idle {
        let link: Link
        let since: NIODeadline
    }

    /// The server closes connections that are idle for a minute: to be told of that by a request would be too late.
    private static let maximumIdle = TimeAmount.seconds(30)

    private let dialer: Dialer
    private let idle = Mutex<[Idle]>([])

    package init(_ dialer: Dialer) {
        self.dialer = dialer
    }

    /// Sends a request, and has its response read. To cancel the task ends the request with its connection.
    ///
    /// - Throws: ``NotSent``, ``ClientError`` where there is no whole response, and what `read` throws.
    package func send(_ request: Request, _ read: @escaping Reader) async throws {
        let link = takeIdle() ?? open()
        let result = await withTaskCancellationHandler {
            await withCheckedContinuation { done in
                if case .terminated = link.jobs.yield(Job(request: request, read: read, done: done)) {
                    done.resume(returning: .failure(ClientError(.unavailable, "the connection was closed")))
                }
            }
        } onCancel: {
            link.cut()
        }
        try result.get()
    }

    /// Closes the connections that nobody uses.
    package func close() {
        let all = idle.withLock { idle in
            defer { idle = [] }
            return idle
        }
        for one in all { one.link.cut() }
    }

    private func takeIdle() -> Link? {
        let (taken, stale) = idle.withLock { idle -> (Idle?, [Idle]) in
            let now = NIODeadline.now()
            let isStale = { (one: Idle) in now - one.since > Self.maximumIdle || !one.link.isOpen }
            let stale = idle.filter(isStale)
            idle.removeAll(where: isStale)
            return (idle.popLast(), stale)
        }
        for one in stale { one.link.cut() }
        return taken?.link
    }

    /// Opens a connection, which carries out one request after the other.
    private func open() -> Link {
        let (jobs, continuation) = Jobs.makeStream()
        let link = Link(continuation)
        Task { await run(jobs, link) }
        return link
    }

    private func run(_ jobs: Jobs, _ link: Link) async {
        var jobs = jobs.makeAsyncIterator()
        var pending = await jobs.next()
        do {
            let channel = try await connect()
            try await channel.executeThenClose { inbound, outbound in
                guard link.connected(channel.channel) else { throw CancellationError() }
                var body = Body(parts: inbound.makeAsyncIterator())
                while let job = pending {
                    let result = await Self.carryOut(job, &body, outbound, dialer.endpoint.authority)
                    pending = nil
                    let isReusable = (try? result.get()) == true && channel.channel.isActive
                    // Before the answer, so that who asks again finds it.
                    if isReusable { idle.withLock { $0.append(Idle(link: link, since: .now())) } }
                    job.done.resume(returning: result.map { _ in })
                    guard isReusable else { return }
                    pending = await jobs.next()
                }
            }
        } catch {
            pending?.done.resume(returning: .failure(NotSent(reason: dialer.unavailable(error))))
        }
        idle.withLock { $0.removeAll { $0.link === link } }
        link.jobs.finish()
        while let job = await jobs.next() {
            job.done.resume(returning: .failure(ClientError(.unavailable, "the connection was closed")))
        }
    }

    private func connect() async throws -> Channel {
        let dialer = dialer
        return try await ClientBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .connectTimeout(.seconds(10))
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .connect(host: dialer.endpoint.host, port: dialer.endpoint.port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try dialer.addTLS(to: channel)
                    try channel.pipeline.syncOperations.addHTTPClientHandlers()
                    return try Channel(wrappingChannelSynchronously: channel)
                }
            }
    }

    /// - Returns: whether the connection can be used once more.
    private static func carryOut(
        _ job: Job, _ body: inout Body, _ outbound: NIOAsyncChannelOutboundWriter<HTTPClientRequestPart>,
        _ authority: String
    ) async -> Result<Bool, any Error> {
        do {
            var fields = HTTPHeaders(job.request.headers.map { ($0.name, $0.value) })
            fields.add(name: "Host", value: authority)
            if !job.request.body.isEmpty { fields.add(name: "Content-Length", value: "\(job.request.body.count)") }
            let head = HTTPRequestHead(
                version: .http1_1, method: HTTPMethod(rawValue: job.request.method), uri: job.request.path,
                headers: fields)
            var parts: [HTTPClientRequestPart] = [.head(head)]
            if !job.request.body.isEmpty { parts.append(.body(.byteBuffer(ByteBuffer(bytes: job.request.body)))) }
            do {
                try await outbound.write(contentsOf: parts + [.end(nil)])
            } catch ChannelError.ioOnClosedChannel {
                throw NotSent(reason: ClientError(.unavailable, "the server has closed the connection"))
            }
            guard case .head(let response)? = try await body.parts.next() else {
                throw ClientError(.unavailable, "the connection ended before the answer")
            }
            body.isAtEnd = false
            try await job.read(Head(response), &body)
            // What was not read would be taken for the next response.
            while try await body.next() != nil {}
            return .success(response.isKeepAlive)
        } catch {
            return .failure(error)
        }
    }
}
