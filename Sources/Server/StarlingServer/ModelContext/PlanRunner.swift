import Access
import Agents
import Loops
import ModelContext
import NIOCore
import Registers
import SearchIndex
import SyncProtocol

/// Carries out plans in the name of one caller.
struct PlanRunner: Sendable {
    let caller: Caller
    let grant: Grant
    let http: HTTPSession
    /// What the caller has of its own for as long as it is there; nil: nothing.
    let session: MCPSession?
    let services: ModelContextServices

    /// What came of a plan, or of a part of it.
    enum Progress: Sendable {
        case done(Step.Outcome)
        /// It waits for something that may take long.
        case waits(Step)
    }

    /// The name to write under.
    private func named(_ agent: String?) -> Caller {
        var caller = caller
        caller.agent = agent ?? caller.agent
        return caller
    }

    /// Carries out a plan up to where it waits.
    func begin(_ plan: Plan) async throws(ToolFailure) -> Progress {
        let caller = named(plan.agent)
        var step = plan.step
        while true {
            switch step {
            case .ask(let messages, let next): step = try next(try await answers(to: messages, caller))
            case .newestMemories(let count, let next): step = try next(await newestMemories(count))
            case .wait, .watch: return .waits(step)
            case .done(let outcome): return .done(outcome)
            }
        }
    }

    /// Carries out the rest of a plan. What is waited for ends with the connection over HTTP, and with the task.
    func finish(_ step: Step, as agent: String?) async throws(ToolFailure) -> Step.Outcome {
        let caller = named(agent)
        let next: Step
        switch step {
        case .wait(let message, let then): next = try then(try await wait(message, caller))
        case .watch(let pattern, let seconds, let then):
            try await watch(pattern, seconds, caller)
            next = try then()
        case .ask, .newestMemories, .done: next = step
        }
        switch try await begin(Plan(as: agent, next)) {
        case .done(let outcome): return outcome
        case .waits(let step): return try await finish(step, as: agent)
        }
    }

    private func answers(to messages: [SyncMessage], _ caller: Caller) async throws(ToolFailure) -> [Step.Answer] {
        guard !messages.isEmpty else { return [] }
        let answers: [JSONObject]
        do throws(Problem) {
            if let session, session.agent == caller.agent {
                answers = try await session.answers(to: messages, caller, on: http.eventLoop)
            } else {
                answers = try await http.answers(to: messages, as: caller)
            }
        } catch {
            throw ToolFailure(error)
        }
        return answers.map { answer in Refusal(answer).map { .failure($0) } ?? .success(answer) }
    }

    private func newestMemories(_ count: Int) async -> [(agent: String, key: String)] {
        let grant = grant
        return await services.index.newest(count) { grant.read.admits($0) }.map {
            ("\($0.agent)", String(decoding: $0.name, as: UTF8.self))
        }
    }

    /// Waits on a connection of its own, which ends with the caller's: what is handed out to nobody goes back.
    private func wait(_ message: SyncMessage, _ caller: Caller) async throws(ToolFailure) -> JSONObject {
        do throws(Problem) {
            let connection = try await http.open(for: caller, isWait: true)
            defer { connection.close() }
            return try await HTTPSession.wait(message, of: connection)
        } catch {
            throw ToolFailure(error)
        }
    }

    /// Waits until there is something that matches a pattern.
    private func watch(_ pattern: String, _ seconds: UInt64, _ caller: Caller) async throws(ToolFailure) {
        do throws(Problem) {
            let connection = try await http.open(for: caller, isWait: true)
            defer { connection.close() }
            var subscribe = SyncMessage("subscribe")
            subscribe.add("id", "0")
            subscribe.add("pattern", pattern)
            connection.send(subscribe)
            let end = ContinuousClock.now + .seconds(seconds)
            while true {
                let left = (end - .now) / .nanoseconds(1)
                guard left > 0 else { return }
                switch await connection.next(within: .nanoseconds(Int64(left))) {
                case .messages(let messages):
                    for message in messages {
                        guard let object = try? JSONObject(Array(message.readableBytesView)) else { continue }
                        if let problem = Problem(object) { throw problem }
                        if object.string("type") == "update", object.bool("deleted") != true { return }
                    }
                case .silence: if Task.isCancelled { return }
                case .end(let end): throw Problem(end)
                }
            }
        } catch {
            throw ToolFailure(error)
        }
    }

    /// Puts back what was given out, and did not reach anybody. It is done whatever becomes of the caller's connection.
    func giveBack(_ message: SyncMessage, as agent: String?) async {
        let caller = named(agent)
        await Task {
            guard let connection = try? await services.connections.open(for: caller, on: http.eventLoop, isTaken: false)
            else { return }
            // Where it cannot be told, its lease ends it.
            _ = try? await HTTPSession.ask(message, of: connection)
            connection.close()
        }.value
    }
}

extension ToolFailure {
    init(_ problem: Problem) {
        self.init(ErrorCode(rawValue: problem.code) ?? .storageFailed, problem.detail, hint: problem.hint)
        code = problem.code
        mayRetry = problem.mayRetry
        retryAfter = problem.retryAfter
    }
}
