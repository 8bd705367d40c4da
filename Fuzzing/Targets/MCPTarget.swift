import ModelContext
import NIOCore
import SyncProtocol

extension FuzzTarget {
    private static let machines = Machine.ToolSet.allCases.map { Machine($0, version: "1") }
    /// How many answers a request is given.
    private static let maximumSteps = 12

    /// The first line is a client's message, and the second one answers everything that is asked for it.
    static func mcp(_ bytes: [UInt8]) {
        let lines = bytes.split(separator: UInt8(ascii: "\n"), maxSplits: 1, omittingEmptySubsequences: false).map(
            Array.init)
        let answer = lines.count > 1 ? lines[1] : Array(#"{"type":"none"}"#.utf8)
        text(lines.first ?? [])
        events(bytes)
        forwarded(lines.first ?? [])
        do throws(RPCMessage.Problem) {
            guard case .request(let request) = try RPCMessage(lines.first ?? []) else { return }
            let requesters = [Requester(agent: "ada", client: nil), Requester(agent: nil, client: "c")]
            for (machine, requester) in zip(machines, requesters) {
                carryOut(request, .legacy(.november2025), requester, machine, answer)
                guard let envelope = try? ModernEnvelope(request, nil) else { continue }
                carryOut(request, .modern(envelope), requester, machine, answer)
            }
            if let beginning = try? Machine.beginning(request) {
                check(object(machines[0].initialized(beginning, requesters[0])) != nil, "a beginning that is no JSON")
            }
        } catch {
            check(object(error.error.message(to: error.id)) != nil, "an error that is no message")
        }
    }

    private static func object(_ text: [UInt8]) -> JSONObject? { try? JSONObject(text) }

    private static func carryOut(
        _ request: RPCRequest, _ era: Machine.Era, _ requester: Requester, _ machine: Machine, _ answer: [UInt8]
    ) {
        let message: [UInt8]
        do throws(RPCError) {
            switch try machine.work(for: request, era, requester) {
            case .result(let result): message = Machine.message(result, to: request.id)
            case .plan(let plan, let shape):
                message = try self.answer(plan, shape, request, era, requester, machine, answer)
            case .listen(let uris, _, _):
                subscribe(uris, answer)
                return
            case .subscribe(let uri), .unsubscribe(let uri):
                subscribe([uri], answer)
                return
            }
        } catch {
            message = error.message(to: request.id)
            check(400...404 ~= error.status || error.status == 200, "a status of its own: \(error.status)")
        }
        let read = object(message)
        check(read != nil, "an answer that is no JSON: \(String(decoding: message, as: UTF8.self))")
        check(read?.raw("id") == request.id.json, "an answer to somebody else")
    }

    private static func answer(
        _ plan: Plan, _ shape: Machine.Shape, _ request: RPCRequest, _ era: Machine.Era, _ requester: Requester,
        _ machine: Machine, _ answer: [UInt8]
    ) throws(RPCError) -> [UInt8] {
        let outcome: Step.Outcome?
        do throws(ToolFailure) {
            outcome = try carryOut(plan.step, answer)
        } catch {
            return Machine.message(machine.result(of: error, era, requester), to: request.id)
        }
        guard let outcome else { return Machine.message(Machine.nothing, to: request.id) }
        return Machine.message(try machine.result(of: outcome, shape, era, requester), to: request.id)
    }

    /// - Returns: nil where it went on for too long.
    private static func carryOut(_ first: Step, _ answer: [UInt8]) throws(ToolFailure) -> Step.Outcome? {
        let object = object(answer) ?? JSONObject()
        let result: Step.Answer = Refusal(object).map { .failure($0) } ?? .success(object)
        var step = first
        for _ in 0..<maximumSteps {
            switch step {
            case .ask(let messages, let next):
                for message in messages { check(message) }
                step = try next(messages.map { _ in result })
            case .wait(let message, let next):
                check(message)
                guard case .success(let object) = result else { return nil }
                step = try next(object)
            case .watch(_, _, let next): step = try next()
            case .newestMemories(_, let next): step = try next([("a", "k"), ("b:%", "/\n")])
            case .done(let outcome): return outcome
            }
        }
        return nil
    }

    /// What is asked is one message, whatever was made of it.
    private static func check(_ message: SyncMessage) {
        let text = Array(message.message(number: 1).readableBytesView)
        guard let object = object(text) else { preconditionFailure("a message that is no JSON") }
        check(object.integer("id") == 1, "a message with an id of the client's")
        check(Set(object.members.map(\.name)).count == object.members.count, "a message with a member twice")
    }

    private static func subscribe(_ uris: [String], _ answer: [UInt8]) {
        var subscriptions = ResourceSubscriptions()
        for uri in uris { _ = try? subscriptions.add(uri) }
        _ = subscriptions.addList()
        if let object = object(answer) { _ = subscriptions.take(object, now: 0) }
        subscriptions.noteAll()
        for notification in subscriptions.notifications(nil) {
            check(object(notification) != nil, "a notification that is no JSON")
        }
        check(!subscriptions.hasUpdates, "something is left")
    }

    /// Text in headers, URIs and settings.
    private static func text(_ bytes: [UInt8]) {
        guard let text = String(validating: bytes, as: UTF8.self) else { return }
        let header = HeaderText.encode(text)
        check(header.utf8.allSatisfy { 0x20...0x7E ~= $0 }, "a header that is none: \(header)")
        check(HeaderText.decode(header) == text, "\(header) is not \(text)")
        _ = HeaderText.decode(text)
        _ = ResourceURI(text)
        if !text.isEmpty, !text.contains(where: { $0 == "*" || $0 == "?" }),
            ResourceURI(ResourceURI.of(key: text)) != nil
        {
            check(ResourceURI(ResourceURI.of(key: text)) == .key(text), "the URI of \(text) is another's")
        }
        let settings = MCPSettings(command: text, arguments: [text], passedOn: [])
        for layout in [MCPSettings.Layout.toml, .json(servers: "s", saysType: true)] {
            guard let once = try? settings.installed(in: bytes, layout) else { continue }
            let again = try? settings.installed(in: once, layout)
            check(
                again == once,
                "to install twice is not to install once: \(text) → \(String(decoding: once, as: UTF8.self)) → \(again.map { String(decoding: $0, as: UTF8.self) } ?? "nothing")"
            )
        }
    }

    private static func events(_ bytes: [UInt8]) {
        var whole = ServerSentEvents()
        let expected = whole.take(bytes) ?? []
        var pieces = ServerSentEvents()
        check(bytes.flatMap { pieces.take([$0]) ?? [] } == expected, "pieces are read otherwise")
    }

    private static func forwarded(_ bytes: [UInt8]) {
        let message = ForwardedMessage(bytes)
        check(message.headers.allSatisfy { $0.value.utf8.allSatisfy { 0x20...0x7E ~= $0 } }, "a header that is none")
        if let failure = message.failure("no") {
            check(object(failure)?.raw("id") == message.id?.json, "another's failure")
        }
    }
}
