import Agents
import Loops
import NIOCore
import Registers
import SyncProtocol

/// The end of a session: its summary, and what is left of it for the next one.
extension HookWork {
    /// The name under which an agent remembers its last session, and what those of its sessions' summaries begin with.
    static let lastSession = "last-session"
    static let summaries = "sessions/"

    func end(_ reason: [UInt8]?, _ caller: ServiceCaller) async {
        if input.isTrial { return }
        // One that is told twice is summed up once.
        guard services.hooks.beginEnd(of: name) else { return note(ErrorCode.overloaded.rawValue, nil) }
        defer { services.hooks.finishEnd(of: name) }
        do throws(WireError) {
            var summary = SessionSummary()
            summary.isComplete = try await forEachRegister(
                SessionKey.pattern(session), upTo: Self.maximumRecords, caller
            ) { register in
                summary.add(register)
            }
            await delete(SessionKey.present(session).key, caller)
            services.hooks.forget(name)
            await releaseClaims(caller)
            if summary.isEmpty { return }
            let now = SystemClock.now()
            let json = summary.json(session: session, agent: agent.bytes, reason: reason, at: now)
            await record(SessionKey.summary(session).key, json, timeToLive: nil, caller)
            // A session in which nothing happened is no news, and takes the place of none.
            if summary.text.isEmpty { return }
            await rememberLast(json, caller)
            try await rememberSummary(summary.text, caller)
        } catch {
            note(error)
        }
    }

    /// Has the agent remember where it was: so its next session can be told, also when this one ends without a word.
    func rememberLast(_ json: [UInt8], _ writer: ServiceCaller) async {
        do throws(WireError) {
            var memory = SyncMessage(MemoryMessage.put.rawValue)
            memory.add("agent", "\(agent)")
            memory.add("key", Self.lastSession)
            // It is found by its text, which is kept by itself.
            memory.add("index", false)
            try memory.add("value", json: ByteBuffer(bytes: json))
            _ = try await writer.ask(memory)
        } catch {
            note(error)
        }
    }

    private func rememberSummary(_ summary: [UInt8], _ writer: ServiceCaller) async throws(WireError) {
        var memory = SyncMessage(MemoryMessage.put.rawValue)
        memory.add("agent", "\(agent)")
        memory.add("key", Self.summaries + text(session))
        memory.add("value", String(decoding: summary, as: UTF8.self))
        memory.add("ttl", 30 * Self.day)
        try memory.add("tags", json: ByteBuffer(string: "[\"session\"]"))
        _ = try await writer.ask(memory)
    }

    /// How many records of a session are counted, the first ones; and how many files that are claimed are looked at.
    private static let maximumRecords = 10_000
    private static let maximumClaims = 1_000
    private static let page = 100

    /// Goes through the registers that match a pattern, page by page.
    ///
    /// - Returns: whether those were all.
    @discardableResult
    private func forEachRegister(
        _ pattern: [UInt8], upTo limit: Int, _ reader: ServiceCaller, _ body: (JSONObject) -> Void
    ) async throws(WireError) -> Bool {
        var after: String?
        var count = 0
        repeat {
            var question = SyncMessage("list")
            question.add("pattern", String(decoding: pattern, as: UTF8.self))
            question.add("limit", Self.page)
            question.add("after", after)
            let answer = try await reader.ask(question)
            for register in (answer.array("registers") ?? []).compactMap({ try? JSONObject($0) }) { body(register) }
            after = answer.string("next")
            count += Self.page
        } while after != nil && count < limit
        return after == nil
    }

    private func delete(_ key: Key, _ writer: ServiceCaller) async {
        var message = SyncMessage("delete")
        message.add("key", "\(key)")
        do throws(WireError) { _ = try await writer.ask(message) } catch { note(error, key) }
    }

    /// Gives back the files that were claimed in the session.
    private func releaseClaims(_ caller: ServiceCaller) async {
        var claims: [(key: String, fence: Int64)] = []
        _ = try? await forEachRegister(Array("file:*".utf8), upTo: Self.maximumClaims, caller) { claim in
            guard claim.string("session") == text(session), claim.string("agent") == "\(agent)",
                let key = claim.string("key"), let fence = claim.object("value")?.integer("fence")
            else { return }
            claims.append((key, fence))
        }
        for claim in claims {
            var release = SyncMessage("release")
            release.add("key", claim.key)
            release.add("fence", claim.fence)
            _ = try? await caller.ask(release)
        }
    }
}
