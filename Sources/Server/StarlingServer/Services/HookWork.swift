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
    private let outcome = Outcome()

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

    /// What went wrong first, and with which key; and what is told.
    private final class Outcome: Sendable {
        let problem = Mutex<(reason: String, key: Key?)?>(nil)
        let news = Mutex(HookState.News())
    }

    /// Who did it, as records say. A name that credentials fix is no matter of what somebody says.
    var worker: [UInt8] { request.grant.agent == nil ? input.subagent ?? agent.bytes : agent.bytes }

    /// The session as this caller tells of it.
    var name: HookState.Name { HookState.Name(bearer: request.grant.bearer, agent: agent, session: session) }

    func carryOut() async -> HookAnswer {
        var answer = HookAnswer()
        do throws(WireError) {
            let caller = try await ServiceCaller(
                request.grant, agent: agent, session: session.bytes, services.connections, on: eventLoop, writes: true)
            defer { caller.close() }
            if input.isTrial { tryKeys() }
            answer.output = await carryOut(caller)
        } catch {
            note(error)
        }
        (answer.degraded, answer.key) = outcome.problem.withLock { ($0?.reason, $0?.key) }
        answer.news = outcome.news.withLock { $0 }
        return answer
    }

    /// Reads come first: behind a write they would wait for its commit.
    private func carryOut(_ caller: ServiceCaller) async -> [UInt8] {
        switch input.event {
        case .sessionStarted(let source):
            let reply = await restored(caller)
            async let isThere: Void = begin(source, caller)
            await log(.noted, source, caller)
            await isThere
            return reply.json(event: input.name)
        case .taskStarted(let text):
            await learn("started")
            let found = await related(to: text, caller)
            async let isThere: Void = renew(caller)
            await log(.started, text, caller)
            await isThere
            return found
        case .willEdit(let file): return await claims(of: file, caller).json(event: input.name)
        case .edited(let edit):
            await learn("edits")
            let reply = input.isSeed ? nil : await claims(of: edit.file, caller)
            async let isThere: Void = renew(caller)
            await keep(edit, caller)
            await isThere
            return reply?.json(event: input.name) ?? Array("{}".utf8)
        case .toolFailed(let tool, let file, let error):
            let text = [tool, error].compactMap { $0 }.joined(separator: Array(": ".utf8))
            await log(.toolFailed, Array(text), file: file, caller)
        case .spoke(let message, let isSubagent):
            await learn("completed")
            async let isThere: Void = renew(caller)
            if isSubagent {
                await log(.noted, message, caller)
            } else if let message {
                await keep(last: message, caller)
            }
            await isThere
        case .taskEnded(let text, let hasFailed):
            await learn(hasFailed ? "failed" : "completed")
            await log(hasFailed ? .failed : .completed, text, caller)
        case .sessionEnded(let reason): await end(reason, caller)
        case .noted: await log(.noted, nil, caller)
        case .ignored: break
        }
        return Array("{}".utf8)
    }

    /// Notes that something is told.
    func tell(_ change: @Sendable (inout HookState.News) -> Void) {
        if !input.isTrial { outcome.news.withLock { change(&$0) } }
    }

    // MARK: Records

    func note(_ error: WireError, _ key: Key? = nil) { note(error.code.rawValue, key) }

    func note(_ reason: String, _ key: Key?) {
        // Whoever only tries loses nothing.
        if !input.isTrial { services.hooks.drop(because: reason) }
        outcome.problem.withLock { $0 = $0 ?? (reason, key) }
    }

    /// Finds out for who only tries it whether he may write what the event would be kept as.
    private func tryKeys() {
        let stamp = Array("0".utf8)
        let log = SessionKey.log(session, stamp: stamp).key
        let present = SessionKey.present(session).key
        func memory(_ name: String) -> Key? { try? MemoryKey(agent: Segment(agent), name: Array(name.utf8)).key() }
        let knowledge = KnowledgeID.ofFile(stamp)
        let keys: [Key?] =
            switch input.event {
            case .sessionStarted: [present, log]
            case .taskStarted: [present, log]
            case .willEdit, .ignored: []
            case .edited:
                [
                    present, SessionKey.edit(session, id: stamp).key, try? Key("knowledge:\(knowledge)"),
                    try? Key("knowledge:\(knowledge):source:\(agent)"),
                ]
            case .toolFailed, .taskEnded, .noted: [log]
            case .spoke: [present, log, SessionKey.last(session).key, memory(Self.lastSession)]
            case .sessionEnded:
                [SessionKey.summary(session).key, memory(Self.lastSession), memory(Self.summaries + text(session))]
            }
        for key in keys.compactMap({ $0 }) where !request.grant.write.admits(key) {
            note(ErrorCode.forbidden.rawValue, key)
        }
    }

    /// Writes a register, with a time to live in seconds. What cannot be written is counted.
    ///
    /// - Returns: whether it was written.
    @discardableResult
    func record(_ key: Key, _ value: [UInt8], timeToLive: Int?, _ writer: ServiceCaller) async -> Bool {
        if input.isTrial { return false }
        do throws(WireError) {
            var message = SyncMessage("broadcast")
            message.add("key", "\(key)")
            try message.add("value", json: ByteBuffer(bytes: value))
            message.add("ttl", timeToLive)
            let answer = try await writer.ask(message)
            if answer.bool("applied") != false { return true }
            note(answer.string("reason") ?? "refused", key)
        } catch {
            note(error, key)
        }
        return false
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
        let key = SessionKey.edit(session, id: id).key
        let value = edit.json(agent: worker, session: session)
        let topic = Array("file:".utf8) + edit.file
        guard edit.isSignificant, !input.isTrial, topic.count <= NewKnowledge.maximumTopic else {
            await record(key, value, timeToLive: 30 * Self.day, writer)
            return
        }
        do throws(WireError) {
            // In one commit with what is known of the file since.
            var batch = SyncMessage("batch")
            try batch.add("writes", json: writes(key, value, topic, edit))
            let answer = try await writer.ask(batch)
            if answer.bool("applied") == true { return }
        } catch {
            // What may be kept is kept.
            if error.code != .forbidden { return note(error, key) }
        }
        if await record(key, value, timeToLive: 30 * Self.day, writer) {
            note(ErrorCode.forbidden.rawValue, try? Key("knowledge:\(KnowledgeID.ofFile(topic))"))
        }
    }

    /// An edit, and that it was: known of the file until it is changed so much again, and said by who has done it.
    private func writes(_ key: Key, _ edit: [UInt8], _ topic: [UInt8], _ change: FileEdit) -> ByteBuffer {
        let now = SystemClock.now()
        let id = KnowledgeID.ofFile(topic)
        let known = Array("knowledge:".utf8) + id.escaped
        let content =
            change.file + Array(": \(change.changedLines) lines changed in session \(text(session)) by ".utf8) + worker
        var knowledge = JSONWriter()
        knowledge.add("id", id)
        knowledge.add("topic", topic)
        knowledge.add("content", content)
        knowledge.add("tags", [])
        knowledge.add("source", "post-edit")
        knowledge.add("confidence", raw: Array("0.5".utf8))
        knowledge.add("created_at", number: now.milliseconds / 1_000)
        knowledge.add("updated_at", number: now.milliseconds / 1_000)
        var source = JSONWriter()
        source.add("source", "post-edit")
        source.add("confidence", raw: Array("0.5".utf8))
        source.add("session_id", session)
        source.add("seen_at", number: now.milliseconds / 1_000)
        var writes = ByteBuffer(string: "[")
        for (index, (key, value, timeToLive)) in [
            (key.bytes, edit, ",\"ttl\":\(30 * Self.day)"), (known, knowledge.finish(), ""),
            (known + Array(":source:".utf8) + Segment(agent).escaped, source.finish(), ""),
        ].enumerated() {
            writes.writeString(index == 0 ? "{\"key\":" : ",{\"key\":")
            writes.writeJSONString(key)
            writes.writeString(",\"value\":")
            writes.writeBytes(value)
            writes.writeString("\(timeToLive)}")
        }
        writes.writeString("]")
        return writes
    }

    private func keep(last message: [UInt8], _ writer: ServiceCaller) async {
        var value = JSONWriter()
        value.add("message", message)
        value.add("agent_id", worker)
        value.add("session_id", session)
        await record(SessionKey.last(session).key, value.finish(), timeToLive: 7 * Self.day, writer)
        guard !input.isTrial else { return }
        // Not every session comes to its end.
        var last = JSONWriter()
        last.add("session_id", session)
        last.add("agent_id", agent.bytes)
        last.add("summary", TextPrefix.of(message, 1_024))
        last.add("ended_at", optional: nil)
        await rememberLast(last.finish(), writer)
    }

    // MARK: That a session is there

    private static let presence = 600

    private func begin(_ source: [UInt8]?, _ writer: ServiceCaller) async {
        var value = JSONWriter()
        value.add("session_id", session)
        value.add("agent_id", agent.bytes)
        value.add("source", source)
        value.add("started_at", seconds: SystemClock.now().milliseconds / 1_000 * 1_000)
        if await record(SessionKey.present(session).key, value.finish(), timeToLive: Self.presence, writer) {
            services.hooks.noteRenewal(of: name, now: SystemClock.now())
        }
    }

    private func renew(_ writer: ServiceCaller) async {
        guard !input.isTrial, services.hooks.shouldRenew(name, now: SystemClock.now()) else { return }
        do throws(WireError) {
            var touch = SyncMessage("touch")
            touch.add("key", "\(SessionKey.present(session).key)")
            touch.add("ttl", Self.presence)
            if try await writer.ask(touch).bool("applied") == true {
                return services.hooks.noteRenewal(of: name, now: SystemClock.now())
            }
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
        // What is counted is written by the server: it is nothing for who may have so many keys only.
        guard let key = try? Key(name), request.grant.write.admits(key), request.grant.maximumKeys == nil,
            services.hooks.counts(name)
        else { return }
        await services.counters.note(what, of: name)
    }
}
