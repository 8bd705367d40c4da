import HTTPTypes
import Hummingbird
import Loops
import ModelContext
import NIOCore
import Registers
import SyncProtocol

/// `subscriptions/listen`: a stream that tells of resources for as long as its request lasts. It is a connection of a shard, and who reads it slowly a slow
/// subscriber.
struct MCPListen: Sendable {
    private static let heartbeat = TimeAmount.seconds(15)
    private static let patience = TimeAmount.seconds(10)

    let id: RPCID
    let uris: [String]
    let tellsOfList: Bool
    let hasURIs: Bool

    /// Subscribes, and answers with what comes.
    func response(_ http: HTTPSession, _ caller: Caller) async throws(Problem) -> Response {
        let connection = try await http.open(for: caller)
        let subscriptions: ResourceSubscriptions
        do throws(Problem) {
            subscriptions = try await begin(connection)
        } catch {
            connection.close()
            throw error
        }
        let honoured = subscriptions.honoured
        let acknowledged = Notification.acknowledged(
            id, uris: uris.filter { honoured.contains($0) }, tellsOfList: subscriptions.tellsOfList, hasURIs: hasURIs)
        return Response(
            status: .ok, headers: MCPResponse.streamHeaders,
            body: ResponseBody { [id] writer in
                var subscriptions = subscriptions
                defer { connection.close() }
                try await writer.write(MCPResponse.event(acknowledged))
                try await Self.tell(&subscriptions, id, of: connection, to: &writer)
                // The server ends it.
                try await writer.write(MCPResponse.event(Machine.message(Machine.ended(id), to: id)))
                try await writer.finish(nil)
            })
    }

    /// What may not be had, or is no resource, is left out of what is acknowledged.
    private func begin(_ connection: InProcessConnection) async throws(Problem) -> ResourceSubscriptions {
        var subscriptions = ResourceSubscriptions()
        for uri in uris {
            do throws(ToolFailure) {
                if let (_, message) = try subscriptions.add(uri) { connection.send(message) }
            } catch { continue }
        }
        if tellsOfList { for message in subscriptions.addList() { connection.send(message) } }
        while !subscriptions.isSettled {
            switch await connection.next(within: Self.patience) {
            case .messages(let messages): Self.take(messages, &subscriptions)
            case .silence: throw Problem(.overloaded, "the subscriptions were not answered in time")
            case .end(let end): throw Problem(end)
            }
        }
        return subscriptions
    }

    private static func take(_ messages: [ByteBuffer], _ subscriptions: inout ResourceSubscriptions) {
        let now = SystemClock.now().milliseconds
        for message in messages {
            guard let object = try? JSONObject(Array(message.readableBytesView)) else { continue }
            _ = subscriptions.take(object, now: now)
        }
    }

    private static func tell(
        _ subscriptions: inout ResourceSubscriptions, _ id: RPCID, of connection: InProcessConnection,
        to writer: inout any ResponseBodyWriter
    ) async throws {
        while true {
            var events = ByteBuffer()
            for message in subscriptions.notifications(id) { events.writeImmutableBuffer(MCPResponse.event(message)) }
            if events.readableBytes > 0 { try await writer.write(events) }
            switch await connection.next(within: heartbeat) {
            case .messages(let messages): take(messages, &subscriptions)
            case .silence:
                try Task.checkCancellation()
                try await writer.write(MCPResponse.comment)
            case .end: return
            }
        }
    }
}
