import HTTPTypes
import Hummingbird
import Loops
import NIOCore
import SyncProtocol

/// `/v1/events`: what matches some patterns, and each change of it, as server-sent events (the HTML Standard, section 9.2). A stream is a
/// connection of the shard: who reads it slowly is a slow subscriber.
enum EventRoutes {
    private static let parameters: Set<String> = ["pattern", "since"]
    /// How many patterns a stream may have: each `id` names the cursors of all.
    private static let maximumPatterns = 16
    /// How long a stream may be silent, so that nobody in between takes it for a dead one.
    private static let heartbeat = TimeAmount.seconds(15)
    /// How long the shard may take to answer a subscription.
    private static let patience = TimeAmount.seconds(10)

    static func add(to router: Router<HTTPContext>) {
        router.get("/v1/events") { request, context in
            await RESTRoutes.answer { () throws(Problem) in
                let query = try Query(request, known: parameters)
                return try await open(try patterns(query), query, request, context)
            }
        }
    }

    private static func patterns(_ query: Query) throws(Problem) -> [String] {
        let patterns = query.all("pattern")
        if patterns.isEmpty { throw Problem(.missingField, "pattern says which keys to tell of: ?pattern=task:*") }
        guard patterns.count <= maximumPatterns else {
            throw Problem(
                .badMessage,
                "a stream has at most \(maximumPatterns) patterns; ask for wider ones, or for more streams")
        }
        return patterns
    }

    /// Answers with the stream of some patterns.
    ///
    /// - Parameter query: has `since`, where the stream goes on after an earlier one.
    static func open(
        _ patterns: [String], _ query: Query, _ request: Request, _ context: HTTPContext
    ) async throws(Problem) -> Response {
        let asked = try query.one("since")
        let since = request.headers[.lastEventID] ?? asked
        let headers: HTTPFields = [
            .contentType: "text/event-stream", .cacheControl: "no-cache", .accelBuffering: "no",
        ]
        let connection = try await context.session.open(for: try Caller(request.headers))
        let (stream, first) = try await begin(EventStream(patterns: patterns, since: since), on: connection)
        if request.method == .head {
            connection.close()
            return Response(status: .ok, headers: headers)
        }
        return Response(
            status: .ok, headers: headers,
            body: ResponseBody { writer in
                var stream = stream
                defer { connection.close() }
                try await writer.write(first)
                try await tell(&stream, of: connection, to: &writer)
                try await writer.finish(nil)
            })
    }

    /// Subscribes, and waits for the answers: what is wrong with a pattern is a status, and not an event behind a 200.
    private static func begin(
        _ stream: EventStream, on connection: InProcessConnection
    ) async throws(Problem) -> (EventStream, ByteBuffer) {
        var stream = stream
        var events = ByteBuffer()
        for message in stream.messages { connection.send(message) }
        while !stream.hasBegun {
            switch await connection.next(within: patience) {
            case .messages(let messages):
                for message in messages {
                    if let problem = EventStream.refusal(message) {
                        connection.close()
                        throw problem
                    }
                    let (event, request) = stream.take(message)
                    events.writeImmutableBuffer(event)
                    if let request { connection.send(request) }
                }
            case .silence:
                connection.close()
                throw Problem(.overloaded, "the subscription was not answered in time")
            case .end(let end): throw Problem(end)
            }
        }
        return (stream, events)
    }

    private static func tell(
        _ stream: inout EventStream, of connection: InProcessConnection, to writer: inout any ResponseBodyWriter
    ) async throws {
        while true {
            switch await connection.next(within: heartbeat) {
            case .messages(let messages):
                var events = ByteBuffer()
                for message in messages {
                    let (event, request) = stream.take(message)
                    events.writeImmutableBuffer(event)
                    if let request { connection.send(request) }
                }
                try await writer.write(events)
            case .silence:
                try Task.checkCancellation()
                try await writer.write(ByteBuffer(string: ":\n\n"))
            case .end: return
            }
        }
    }
}
