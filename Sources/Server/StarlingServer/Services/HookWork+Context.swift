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
    /// How long it waits for the index to know of what was written a moment ago, in milliseconds.
    private static let wait = 50
    /// How many unread messages are counted, and of how many it is told what they say.
    private static let maximumUnread = 100
    private static let maximumShown = 3
    /// How much of a summary is told, in bytes.
    private static let maximumSummary = 1_200

    func text(_ segment: Segment) -> String { String(decoding: segment.bytes, as: UTF8.self) }

    // MARK: Where somebody was

    func restored(_ reader: ServiceCaller) async -> HookReply {
        var reply = HookReply(for: agent.bytes)
        async let last = lastSession(reader)
        async let tasks = tasks(reader)
        async let inbox = unread(.inbox, reader)
        async let board = unread(.board, reader)
        if let (whose, summary) = await last {
            reply.add(whose, quoting: summary, maximumLength: Self.maximumSummary)
        }
        if let line = await tasks { reply.add(line) }
        for line in await inbox + board { reply.add(line.text, quoting: line.quoted) }
        return reply
    }

    private func lastSession(_ reader: ServiceCaller) async -> (whose: String, summary: [UInt8])? {
        let own = (try? await reader.get(SessionKey.summary(session).key))?.object("value")
        var before = own
        if before == nil {
            guard let key = try? MemoryKey(agent: Segment(agent), name: Array(Self.lastSession.utf8)).key() else {
                return nil
            }
            before = (try? await reader.get(key))?.object("value")
        }
        guard let before, let summary = before.string("summary"), !summary.isEmpty,
            let name = before.string("session_id")
        else { return nil }
        let isOwn = name == text(session)
        return (isOwn ? "This session, before:" : "This agent's last session, \(name):", Array(summary.utf8))
    }

    private func tasks(_ reader: ServiceCaller) async -> String? {
        guard let swarm else { return nil }
        var question = SyncMessage("swarm.status")
        question.add("swarm", text(swarm))
        guard let status = await asked(question, reader) else { return nil }
        let own = (status.array("agents") ?? []).compactMap { try? JSONObject($0) }.first {
            $0.string("agent_id") == "\(agent)"
        }
        let tasks = (own?.array("tasks") ?? []).compactMap { JSONObject.string($0) }
        guard !tasks.isEmpty else { return nil }
        return "This agent has these tasks of swarm \(text(swarm)) under way: \(tasks.joined(separator: ", "))"
    }

    private enum Box: String {
        case inbox, board
    }

    /// The messages that have come since this session was told of some: how many, and what the first of them say.
    private func unread(_ box: Box, _ reader: ServiceCaller) async -> [(text: String, quoted: [UInt8]?)] {
        guard let swarm else { return [] }
        let pattern =
            switch box {
            case .inbox: SwarmKey.inboxPattern(swarm, agent: Segment(agent))
            case .board: SwarmKey.boardPattern(swarm)
            }
        let topic = box.rawValue + " " + text(swarm)
        var question = SyncMessage("list")
        question.add("pattern", String(decoding: pattern, as: UTF8.self))
        question.add("after", services.hooks.told(topic, in: name))
        question.add("limit", Self.maximumUnread)
        guard let answer = await asked(question, reader) else { return [] }
        let messages = (answer.array("registers") ?? []).compactMap { try? JSONObject($0) }.filter {
            $0.object("value")?.string("from") != "\(agent)"
        }
        guard let latest = messages.last?.string("key") else { return [] }
        tell { $0.latest[topic] = latest }
        let count = messages.count == Self.maximumUnread ? "\(messages.count) or more" : "\(messages.count)"
        let noun = messages.count == 1 ? "message" : "messages"
        let whose = box == .inbox ? "to this agent" : "to all"
        let more = messages.count > Self.maximumShown ? ", the first of them below" : ""
        return [("\(count) new \(noun) \(whose) in swarm \(text(swarm))\(more):", nil)]
            + messages.prefix(Self.maximumShown).map { message in
                let value = message.object("value")
                return ("from \(value?.string("from") ?? "?"):", SearchText.plain(value?.raw("body") ?? []))
            }
    }

    /// What a read is answered; nil: nothing. Whoever only tries is told why.
    private func asked(_ question: SyncMessage, _ reader: ServiceCaller) async -> JSONObject? {
        do throws(WireError) {
            return try await reader.ask(question)
        } catch {
            if input.isTrial, error.code == .forbidden { note(error) }
            return nil
        }
    }

    // MARK: What others know

    func related(to text: [UInt8], _ reader: ServiceCaller) async -> [UInt8] {
        let query = PromptWords.query(text)
        async let inbox = input.isSeed ? [] : unread(.inbox, reader)
        async let board = input.isSeed ? [] : unread(.board, reader)
        let found = query == nil ? [] : await find(query ?? [], reader)
        let memories = found.filter { $0.string("kind") == "memory" }
        let knowledge = found.filter { $0.string("kind") == "knowledge" }
        if input.isSeed { return Self.seedContext(memories) }
        var reply = HookReply(for: agent.bytes)
        for line in await inbox + board { reply.add(line.text, quoting: line.quoted) }
        for memory in news(memories) {
            let isOwn = memory.string("agent_id") == "\(agent)"
            let whose = isOwn ? "this agent" : memory.string("agent_id") ?? "?"
            reply.add(
                "\(whose) remembers \(memory.string("name") ?? "?")\(Self.day(of: memory)):",
                quoting: Array((memory.string("snippet") ?? "").utf8))
        }
        for known in news(knowledge) {
            reply.add(
                "known of \(known.string("topic") ?? "?")\(Self.day(of: known)):",
                quoting: Array((known.string("snippet") ?? "").utf8))
        }
        return reply.json(event: input.name)
    }

    /// What the session was not told yet, or what has changed since.
    private func news(_ finds: [JSONObject]) -> [JSONObject] {
        finds.filter { find in
            let what = (find.string("key") ?? "") + " " + (find.string("version") ?? "")
            guard services.hooks.isNews(what, for: name) else { return false }
            tell { $0.finds.append(what) }
            return true
        }
    }

    /// ` (2026-11-30)`, by a register's version.
    private static func day(of register: JSONObject) -> String {
        guard let version = try? Version(register.string("version") ?? "") else { return "" }
        let days = Int(version.stamp.milliseconds / 86_400_000)
        // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days; for days since 1970.
        let shifted = days + 719_468
        let era = shifted / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let month = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * month + 2) / 5 + 1
        let civil = month < 10 ? month + 3 : month - 9
        let year = yearOfEra + era * 400 + (civil <= 2 ? 1 : 0)
        func two(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
        return " (\(year)-\(two(civil))-\(two(day)))"
    }

    private func find(_ query: [UInt8], _ reader: ServiceCaller) async -> [JSONObject] {
        var search = Search(query: query)
        search.match = .any
        search.exceptSession = session.bytes
        search.patience = Self.wait
        search.limits = [.memory: Self.memories, .knowledge: Self.knowledge]
        // What is found is counted as used, and whoever only tries uses nothing.
        if input.isSeed || input.isTrial { search.kinds = [.memory] }
        search.limit = Self.memories + Self.knowledge
        do throws(WireError) {
            return try await services.find(search, request, reader).results.compactMap { try? JSONObject($0) }
        } catch {
            return []
        }
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

    /// Who else says that a file is his: by a claim of `file:<path>`, whichever of its names that has.
    func claims(of file: [UInt8], _ reader: ServiceCaller) async -> HookReply {
        var reply = HookReply(for: agent.bytes)
        for name in FileNames.all(of: file, in: input.folder) {
            guard let key = try? Key(Array("file:".utf8) + name), let register = try? await reader.get(key),
                register.integer("expires_at") != nil, let holder = register.string("agent"), holder != "\(agent)"
            else { continue }
            reply.add("\(holder) has claimed \(String(decoding: name, as: UTF8.self)), and may be changing it")
            break
        }
        return reply
    }
}
