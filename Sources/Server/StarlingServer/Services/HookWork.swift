import Access
import Agents
import Loops
import NIOCore
import Registers
import SyncEngine
import SyncProtocol
import Synchronization

/// What is done about one event of a harness: in the name of who told it, and with no more rights.
struct HookWork: Sendable {
    static let day = 86_400

    let services: AgentServices
    let input: HookInput
    let session: Segment
    let agent: Agent
    /// Where the agent's messages and tasks are; nil: nobody says.
    let swarm: Segment?
    let request: ServiceRequest
    let eventLoop: any EventLoop
    private let problem = Problems()

    init(
        services: AgentServices, input: HookInput, session: Segment, agent: Agent, swarm: Segment?,
        request: ServiceRequest,
        eventLoop: any EventLoop
    ) {
        self.services = services
        self.input = input
        self.session = session
        self.agent = agent
        self.swarm = swarm
        self.request = request
        self.eventLoop = eventLoop
    }

    /// What went wrong first.
    private final class Problems: Sendable {
        let first = Mutex<String?>(nil)
    }

    /// Who did it, as records say.
    var worker: [UInt8] { input.subagent ?? agent.bytes }

    func carryOut() async -> HookAnswer {
        var answer = HookAnswer()
        do throws(WireError) {
            // Two, since what is asked behind a write waits for it.
            let writer = try await connect(writes: true)
            defer { writer.close() }
            let reader = try await connect(writes: false)
            defer { reader.close() }
            answer.output = await carryOut(writer, reader)
        } catch {
            note(error)
        }
        answer.degraded = problem.first.withLock { $0 }
        return answer
    }

    private func connect(writes: Bool) async throws(WireError) -> ServiceCaller {
        try await ServiceCaller(
            request.grant, agent: agent, session: session.bytes, services.connections, on: eventLoop, writes: writes)
    }

    private func carryOut(_ writer: ServiceCaller, _ reader: ServiceCaller) async -> [UInt8] {
        switch input.event {
        case .sessionStarted(let source):
            async let isThere: Void = begin(source, writer)
            let reply = await restored(reader)
            await isThere
            return reply.json(event: input.name)
        case .taskStarted(let text):
            await learn("started")
            async let isLogged: Void = log(.started, text, writer)
            async let isThere: Void = renew(writer)
            let found = await related(to: text, reader)
            _ = await (isLogged, isThere)
            return found
        case .willEdit(let file):
            return await claims(of: file, reader).json(event: input.name)
        case .edited(let edit):
            await learn("edits")
            async let isThere: Void = renew(writer)
            async let isKept: Void = keep(edit, writer)
            let reply = await claims(of: edit.file, reader)
            _ = await (isThere, isKept)
            return input.isSeed ? Array("{}".utf8) : reply.json(event: input.name)
        case .toolFailed(let tool, let file, let error):
            let text = [tool, error].compactMap { $0 }.joined(separator: Array(": ".utf8))
            await log(.toolFailed, Array(text), file: file, writer)
        case .spoke(let message, let isSubagent):
            await learn("completed")
            if isSubagent { await log(.completed, nil, writer) }
            if let message { await keep(last: message, writer) }
            await renew(writer)
        case .taskEnded(let text, let hasFailed):
            await learn(hasFailed ? "failed" : "completed")
            await log(hasFailed ? .failed : .completed, text, writer)
        case .sessionEnded(let reason): await end(reason, writer, reader)
        case .noted: await log(.noted, nil, writer)
        case .ignored: break
        }
        return Array("{}".utf8)
    }

    // MARK: Records

    func note(_ error: WireError) { note(error.code.rawValue) }

    private func note(_ reason: String) {
        services.hooks.drop(because: reason)
        problem.first.withLock { $0 = $0 ?? reason }
    }

    /// Writes a register, with a time to live in seconds. What cannot be written is counted.
    func record(_ key: Key, _ value: [UInt8], timeToLive: Int?, _ writer: ServiceCaller) async {
        if input.isTrial {
            if !request.grant.write.admits(key) { note(ErrorCode.forbidden.rawValue) }
            return
        }
        do throws(WireError) {
            var message = SyncMessage("broadcast")
            message.add("key", "\(key)")
            try message.add("value", json: ByteBuffer(bytes: value))
            message.add("ttl", timeToLive)
            let answer = try await writer.ask(message)
            if answer.bool("applied") == false { note(answer.string("reason") ?? "refused") }
        } catch {
            note(error)
        }
    }

    private func log(_ event: SessionLogEvent, _ text: [UInt8]?, file: [UInt8]? = nil, _ writer: ServiceCaller) async {
        let now = SystemClock.now()
        let entry = SessionLogEntry(
            event, name: input.name, task: input.task, taskType: input.taskType, agent: worker,
            text: text?.isEmpty == true ? nil : text, file: file)
        await record(
            SessionKey.log(session, stamp: services.stamp(now)).key, entry.json(session: session, at: now),
            timeToLive: 30 * Self.day, writer)
    }

    private func keep(_ edit: FileEdit, _ writer: ServiceCaller) async {
        let id = edit.id?.escaped ?? services.stamp(SystemClock.now())
        await record(
            SessionKey.edit(session, id: id).key, edit.json(agent: worker, session: session),
            timeToLive: 30 * Self.day, writer)
        guard edit.isSignificant else { return }
        do throws(WireError) {
            let topic = Array("file:".utf8) + edit.file
            guard topic.count <= NewKnowledge.maximumTopic else { return }
            var message = SyncMessage(ServiceCall.Name.knowledgePut.rawValue)
            message.add("topic", String(decoding: topic, as: UTF8.self))
            let session = String(decoding: session.bytes, as: UTF8.self)
            message.add(
                "content",
                "\(String(decoding: edit.file, as: UTF8.self)): \(edit.changedLines) lines changed in session \(session) by "
                    + String(decoding: worker, as: UTF8.self))
            message.add("knowledge", "\(KnowledgeID.ofFile(topic))")
            message.add("source", "post-edit")
            try message.add("confidence", json: ByteBuffer(string: "0.5"))
            _ = try await writer.ask(message)
        } catch {
            note(error)
        }
    }

    private func keep(last message: [UInt8], _ writer: ServiceCaller) async {
        var value = JSONWriter()
        value.add("message", message)
        value.add("agent_id", worker)
        value.add("session_id", session)
        await record(SessionKey.last(session).key, value.finish(), timeToLive: 7 * Self.day, writer)
    }

    // MARK: That a session is there

    private static let presence = 600

    private func begin(_ source: [UInt8]?, _ writer: ServiceCaller) async {
        if !input.isTrial { _ = services.hooks.shouldRenew(session, now: SystemClock.now()) }
        var value = JSONWriter()
        value.add("session_id", session)
        value.add("agent_id", agent.bytes)
        value.add("source", source)
        value.add("started_at", seconds: SystemClock.now().milliseconds / 1_000 * 1_000)
        await record(SessionKey.present(session).key, value.finish(), timeToLive: Self.presence, writer)
    }

    private func renew(_ writer: ServiceCaller) async {
        guard !input.isTrial, services.hooks.shouldRenew(session, now: SystemClock.now()) else { return }
        do throws(WireError) {
            var touch = SyncMessage("touch")
            touch.add("key", "\(SessionKey.present(session).key)")
            touch.add("ttl", Self.presence)
            if try await writer.ask(touch).bool("applied") == true { return }
        } catch {
            return note(error)
        }
        await begin(nil, writer)
    }

    // MARK: Learning

    /// Counts something about a kind of work.
    private func learn(_ what: String) async {
        guard !input.isTrial, let type = try? Segment(input.taskType.span) else { return }
        let name = services.learning(of: Segment(agent), type)
        guard let key = try? Key(name), request.grant.write.admits(key) else { return }
        await services.counters.note(what, of: name)
    }
}
