import ModelContext
import NIOCore
import SyncClient
import SyncProtocol
import Synchronization

/// What a server answers to one message, printed as it comes: a line each.
final class Answers: Sendable {
    private struct State {
        var session: String?
        var version: String?
        var sessionIsUnknown = false
        var status: Int?
        /// Whether its client has been told what came of it.
        var isAnswered = false
    }

    /// The greatest size of an answer that is no stream, in bytes.
    private static let maximumSize = 64 << 20

    /// nil: a stream was asked for.
    private let message: ForwardedMessage?
    private let print: @Sendable ([UInt8]) -> Void
    private let noteEvent: @Sendable (String) async -> Void
    private let state = Mutex(State())

    init(
        _ message: ForwardedMessage?, _ print: @escaping @Sendable ([UInt8]) -> Void,
        noteEvent: @escaping @Sendable (String) async -> Void = { _ in }
    ) {
        self.message = message
        self.print = print
        self.noteEvent = noteEvent
    }

    /// The MCP session that was begun.
    var session: String? { state.withLock { $0.session } }
    /// The version that was agreed on.
    var version: String? { state.withLock { $0.version } }
    /// Of the response; nil: there was none.
    var status: Int? { state.withLock { $0.status } }
    var sessionIsUnknown: Bool { state.withLock { $0.sessionIsUnknown } }

    /// Says that there will be no answer, where none has been.
    func fail(_ reason: String) {
        let isAnswered = state.withLock { $0.isAnswered }
        if !isAnswered, let failure = message?.failure(reason) { print(failure) }
    }

    func read(_ head: HTTPConnections.Head, _ body: inout HTTPConnections.Body) async throws {
        let type = head.header("content-type")?.prefix { $0 != ";" } ?? ""
        state.withLock { state in
            state.session = head.header("mcp-session-id")
            state.status = head.status
        }
        if type == "text/event-stream" { return try await readEvents(&body) }
        var text: [UInt8] = []
        while let bytes = try await body.next() {
            text += bytes.readableBytesView
            guard text.count <= Self.maximumSize else {
                throw ClientError(.protocolViolation, "the answer is too long")
            }
        }
        if head.status == 404, message?.isModern != true, (try? JSONObject(text))?.object("error") != nil {
            let isSession = message == nil || message?.method != "initialize"
            if isSession { return state.withLock { $0.sessionIsUnknown = true } }
        }
        guard 200...299 ~= head.status || (try? JSONObject(text))?.string("jsonrpc") != nil else {
            return fail(Self.words(head, text))
        }
        if !text.isEmpty { answer(text) }
    }

    private func readEvents(_ body: inout HTTPConnections.Body) async throws {
        var events = ServerSentEvents()
        while let bytes = try await body.next() {
            guard let whole = events.take(bytes.readableBytesView) else {
                throw ClientError(.protocolViolation, "an event is too long")
            }
            for event in whole {
                answer(event.data)
                if let id = event.id { await noteEvent(id) }
            }
        }
    }

    /// Prints a message of the server's.
    private func answer(_ text: [UInt8]) {
        if let object = try? JSONObject(text), object.raw("method") == nil {
            state.withLock { state in
                state.isAnswered = true
                state.version = object.object("result")?.string("protocolVersion")
            }
        }
        // A line is a message.
        print(text.map { $0 == UInt8(ascii: "\n") || $0 == UInt8(ascii: "\r") ? UInt8(ascii: " ") : $0 })
    }

    /// What a refusal says that is no message.
    private static func words(_ head: HTTPConnections.Head, _ text: [UInt8]) -> String {
        guard let problem = try? JSONObject(text), let detail = problem.string("detail") else {
            return "the server answered \(head.status): \(String(decoding: text.prefix(200), as: UTF8.self))"
        }
        let code = problem.string("code").map { " (\($0))" } ?? ""
        let hint =
            head.status == 401 ? "; STARLING_TOKEN says who asks" : problem.string("hint").map { "; \($0)" } ?? ""
        return "\(detail)\(code)\(hint)"
    }
}
