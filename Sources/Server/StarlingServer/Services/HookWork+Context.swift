import Agents
import Loops
import NIOCore
import Registers
import SyncProtocol

/// What a hook tells in return: facts out of what the caller may read.
extension HookWork {
    /// How many memories of other sessions are told, and how much knowledge.
    private static let memories = 5
    private static let knowledge = 3
    /// How long it waits for the index to know of what was written a moment ago, in seconds.
    private static let wait = "0.05"
    /// How many unread messages are counted.
    private static let maximumUnread = 100

    private static let lastSession = "last-session"

    private func text(_ segment: Segment) -> String { String(decoding: segment.bytes, as: UTF8.self) }

    // MARK: Where somebody was

    func restored(_ reader: ServiceCaller) async -> HookReply {
        var reply = HookReply()
        async let last = lastSession(reader)
        async let tasks = tasks(reader)
        async let unread = unread(reader)
        for line in await [last, tasks, unread].compactMap({ $0 }) { reply.add(line, maximumLength: 1_200) }
        return reply
    }

    private func lastSession(_ reader: ServiceCaller) async -> [UInt8]? {
        let own = try? await reader.get(SessionKey.summary(session).key)
        var before = own?.object("value")
        if before == nil {
            guard let key = try? MemoryKey(agent: Segment(agent), name: Array(Self.lastSession.utf8)).key() else {
                return nil
            }
            before = (try? await reader.get(key))?.object("value")
        }
        guard let before, let summary = before.string("summary"), let name = before.string("session_id") else {
            return nil
        }
        let whose = own == nil ? "The last session of \(agent), \(name)" : "This session, when it ended last"
        return Array("\(whose): \(summary)".utf8)
    }

    private func tasks(_ reader: ServiceCaller) async -> [UInt8]? {
        guard let swarm else { return nil }
        var question = SyncMessage("swarm.status")
        question.add("swarm", text(swarm))
        guard let status = try? await reader.ask(question) else { return nil }
        let own = (status.array("agents") ?? []).compactMap { try? JSONObject($0) }.first {
            $0.string("agent_id") == "\(agent)"
        }
        let tasks = (own?.array("tasks") ?? []).compactMap { JSONObject.string($0) }
        guard !tasks.isEmpty else { return nil }
        return Array(
            "\(agent) has these tasks of swarm \(text(swarm)) under way: \(tasks.joined(separator: ", "))".utf8)
    }

    /// That there are messages which are not acknowledged: once for each that comes.
    private func unread(_ reader: ServiceCaller) async -> [UInt8]? {
        guard let swarm else { return nil }
        var question = SyncMessage("list")
        question.add("pattern", String(decoding: SwarmKey.inboxPattern(swarm, agent: Segment(agent)), as: UTF8.self))
        question.add("limit", Self.maximumUnread)
        guard let answer = try? await reader.ask(question) else { return nil }
        let messages = (answer.array("registers") ?? []).compactMap { try? JSONObject($0) }
        guard let latest = messages.last?.string("key"), input.isTrial || services.hooks.isNews(latest, for: session)
        else { return nil }
        let senders = Set(messages.compactMap { $0.object("value")?.string("from") }).sorted().prefix(5)
        let count = messages.count == Self.maximumUnread ? "\(messages.count) or more" : "\(messages.count)"
        return Array(
            "\(count) unread message\(messages.count == 1 ? "" : "s") for \(agent) in swarm \(text(swarm)), from \(senders.joined(separator: ", "))"
                .utf8)
    }

    // MARK: What others know

    func related(to text: [UInt8], _ reader: ServiceCaller) async -> [UInt8] {
        async let unread = unread(reader)
        let query = PromptWords.query(text)
        async let memories = query == nil ? [] : find("memory", Self.memories, query ?? [], reader)
        async let knowledge = query == nil || input.isSeed ? [] : find("knowledge", Self.knowledge, query ?? [], reader)
        if input.isSeed { return Self.seedContext(await memories) }
        var reply = HookReply()
        if let line = await unread { reply.add(line) }
        for memory in await memories {
            let (whose, name) = (memory.string("agent_id") ?? "?", memory.string("name") ?? "?")
            reply.add("\(whose) remembers \(name): \(memory.string("snippet") ?? "")")
        }
        for known in await knowledge {
            reply.add("Known of \(known.string("topic") ?? "?"): \(known.string("snippet") ?? "")")
        }
        return reply.json(event: input.name)
    }

    private func find(_ kind: String, _ count: Int, _ query: [UInt8], _ reader: ServiceCaller) async -> [JSONObject] {
        var search = SyncMessage(ServiceCall.Name.search.rawValue)
        search.add("query", String(decoding: query, as: UTF8.self))
        search.add("limit", count)
        search.add("except_session", text(session))
        guard (try? search.add("in", json: ByteBuffer(string: "[\"\(kind)\"]"))) != nil,
            (try? search.add("wait", json: ByteBuffer(string: Self.wait))) != nil,
            let answer = try? await reader.ask(search)
        else { return [] }
        return (answer.array("results") ?? []).compactMap { try? JSONObject($0) }
    }

    /// `{"previousContext":[{"key","value"}]}`, as the seed's hook puts it into its context.
    private static func seedContext(_ memories: [JSONObject]) -> [UInt8] {
        var object = JSONWriter()
        object.add(
            "previousContext",
            raw: AgentServices.array(
                memories.map { memory in
                    var one = JSONWriter()
                    one.add("key", memory.string("name") ?? "")
                    one.add("value", raw: memory.raw("value") ?? Array("null".utf8))
                    return one.finish()
                }))
        return object.finish()
    }

    // MARK: Files

    /// Who else says that a file is his: by a claim of `file:<path>`.
    func claims(of file: [UInt8], _ reader: ServiceCaller) async -> HookReply {
        var reply = HookReply()
        guard let key = try? Key(Array("file:".utf8) + file), let register = try? await reader.get(key),
            register.integer("expires_at") != nil, let holder = register.string("agent"), holder != "\(agent)"
        else { return reply }
        reply.add("\(holder) has claimed \(String(decoding: file, as: UTF8.self)), and may be changing it")
        return reply
    }

    // MARK: The end

    func end(_ reason: [UInt8]?, _ writer: ServiceCaller, _ reader: ServiceCaller) async {
        if input.isTrial { return await record(SessionKey.summary(session).key, [], timeToLive: nil, writer) }
        services.hooks.forget(session)
        do throws(WireError) {
            var summary = SessionSummary()
            for register in try await registers(SessionKey.pattern(session), reader) { summary.add(register) }
            await delete(SessionKey.present(session).key, writer)
            await releaseClaims(writer, reader)
            if summary.isEmpty { return }
            let now = SystemClock.now()
            let json = summary.json(session: session, agent: agent.bytes, reason: reason, at: now)
            await record(SessionKey.summary(session).key, json, timeToLive: nil, writer)
            var memory = SyncMessage(MemoryMessage.put.rawValue)
            memory.add("agent", "\(agent)")
            memory.add("key", Self.lastSession)
            try memory.add("value", json: ByteBuffer(bytes: json))
            _ = try await writer.ask(memory)
        } catch {
            note(error)
        }
    }

    /// All registers that match a pattern, page by page.
    private func registers(_ pattern: [UInt8], _ reader: ServiceCaller) async throws(WireError) -> [JSONObject] {
        var registers: [JSONObject] = []
        var after: String?
        repeat {
            var question = SyncMessage("list")
            question.add("pattern", String(decoding: pattern, as: UTF8.self))
            question.add("limit", 1_000)
            question.add("after", after)
            let answer = try await reader.ask(question)
            registers += (answer.array("registers") ?? []).compactMap { try? JSONObject($0) }
            after = answer.string("next")
        } while after != nil
        return registers
    }

    private func delete(_ key: Key, _ writer: ServiceCaller) async {
        var message = SyncMessage("delete")
        message.add("key", "\(key)")
        do throws(WireError) { _ = try await writer.ask(message) } catch { note(error) }
    }

    /// Gives back the files that were claimed in the session.
    private func releaseClaims(_ writer: ServiceCaller, _ reader: ServiceCaller) async {
        guard let claims = try? await registers(Array("file:*".utf8), reader) else { return }
        for claim in claims where claim.string("session") == text(session) && claim.string("agent") == "\(agent)" {
            guard let key = claim.string("key"), let fence = claim.object("value")?.integer("fence") else { continue }
            var release = SyncMessage("release")
            release.add("key", key)
            release.add("fence", fence)
            _ = try? await writer.ask(release)
        }
    }
}
