import HTTPTypes
import Hummingbird
import ModelContext
import NIOCore
import SyncProtocol

/// A request that is being carried out, and its answer: JSON where that is soon there, else a stream that says how long it has been waited.
struct MCPCall: Sendable {
    /// What is answered as JSON, at the latest after this time.
    private static let patience = TimeAmount.seconds(5)
    /// How often a caller who wants to know is told that it is still waited.
    private static let progressInterval = 10
    private static let heartbeat = TimeAmount.seconds(5)
    /// How many of ``heartbeat`` there may be without a word.
    private static let silentHeartbeats = 3

    let request: RPCRequest
    let plan: Plan
    let shape: Machine.Shape
    let era: Machine.Era
    let requester: Requester
    let machine: Machine
    let runner: PlanRunner
    let accept: MCPAccept

    /// An answer, and what undoes it.
    private struct Answer: Sendable {
        var message: [UInt8]
        var status = 200
        var giveBack: SyncMessage?
    }

    /// Carries it out.
    func response() async -> Response {
        // It is not cut off in the middle: what is asked of the server is soon answered, and may hand something out.
        let begun = Task { () -> (Answer?, Step?) in
            do throws(ToolFailure) {
                switch try await runner.begin(plan) {
                case .done(let outcome): return (self.answer(outcome), nil)
                case .waits(let step): return (nil, step)
                }
            } catch {
                return (self.answer(error), nil)
            }
        }
        let (soon, step) = await begun.value
        renewLeases()
        if let soon { return await response(soon) }
        guard let step else { preconditionFailure("what is not over waits") }
        return await response(waitingFor: step)
    }

    // MARK: Answers

    private func answer(_ outcome: Step.Outcome) -> Answer {
        do throws(RPCError) {
            let result = try machine.result(of: outcome, shape, era, requester)
            return Answer(message: Machine.message(result, to: request.id), giveBack: outcome.giveBack)
        } catch {
            return answer(error)
        }
    }

    private func answer(_ error: RPCError) -> Answer {
        Answer(message: error.message(to: request.id), status: MCPFailure.status(of: error, era))
    }

    private func answer(_ failure: ToolFailure) -> Answer {
        guard case .tool = shape else { return answer(RPCError(failure)) }
        return Answer(message: Machine.message(machine.result(of: failure, era, requester), to: request.id))
    }

    /// Any call of a tool says that its agent is there.
    private func renewLeases() {
        guard case .tool = shape, let agent = plan.agent ?? requester.agent else { return }
        Task {
            await runner.services.leases.renew(agent) { messages in
                for message in messages { await runner.giveBack(message, as: agent) }
            }
        }
    }

    // MARK: Responses

    /// The response of what is known; where it cannot be written, it is undone.
    private func response(_ answer: Answer) async -> Response {
        await note(answer)
        guard accept.json else {
            return Response(
                status: .ok, headers: MCPResponse.streamHeaders, body: body(MCPResponse.event(answer.message), answer))
        }
        guard answer.giveBack != nil else { return MCPResponse.json(answer.message, status: answer.status) }
        return Response(
            status: .init(code: answer.status), headers: [.contentType: "application/json"],
            body: body(ByteBuffer(bytes: answer.message), answer, contentLength: answer.message.count))
    }

    private func body(_ bytes: ByteBuffer, _ answer: Answer, contentLength: Int? = nil) -> ResponseBody {
        let write = { @Sendable (writer: inout any ResponseBodyWriter) async throws in
            do {
                // What is written to who has hung up is taken by the kernel, and read by nobody.
                if answer.giveBack != nil, runner.http.isInputClosed { throw CancellationError() }
                try await writer.write(bytes)
                try await writer.finish(nil)
            } catch {
                await undo(answer)
                throw error
            }
        }
        return contentLength.map { ResponseBody(contentLength: $0, write) } ?? ResponseBody(write)
    }

    /// What was handed out in an MCP session goes back with its end.
    private func note(_ answer: Answer) async {
        guard let giveBack = answer.giveBack else { return }
        await runner.session?.handedOut(giveBack, runner.caller, on: runner.http.eventLoop)
    }

    private func undo(_ answer: Answer?) async {
        guard let message = answer?.giveBack else { return }
        await runner.giveBack(message, as: plan.agent)
    }

    // MARK: Waiting

    private func response(waitingFor step: Step) async -> Response {
        let eventual = Eventual<Answer>()
        let work = Task {
            do throws(ToolFailure) {
                eventual.give(answer(try await runner.finish(step, as: plan.agent)))
            } catch {
                eventual.give(answer(error))
            }
        }
        if let session = runner.session {
            guard await session.began(request.id, cancel: { work.cancel() }) else {
                work.cancel()
                return MCPResponse.json(
                    RPCError(.invalidRequest, "a request by this id is under way").message(to: request.id), status: 400)
            }
        }
        let patience = accept.json ? Self.patience : .milliseconds(1)
        let first = await eventual.value(within: patience, on: runner.http.eventLoop)
        if let first, !Task.isCancelled {
            await runner.session?.ended(request.id)
            return await settled(first, work)
        }
        guard accept.stream else { return await settled(await lastOf(eventual, work), work) }
        return Response(
            status: .ok, headers: MCPResponse.streamHeaders,
            body: ResponseBody { writer in try await write(eventual, work, to: &writer) })
    }

    private func settled(_ answer: Answer, _ work: Task<Void, Never>) async -> Response {
        guard work.isCancelled else { return await response(answer) }
        // Its client has said that nobody waits for it.
        await undo(answer)
        return MCPResponse.json(
            RPCError(.internalError, "the request was cancelled").message(to: request.id))
    }

    private func lastOf(_ eventual: Eventual<Answer>, _ work: Task<Void, Never>) async -> Answer {
        await work.value
        await runner.session?.ended(request.id)
        return eventual.given ?? answer(ToolFailure(.shuttingDown, "it was cut off"))
    }

    private func write(
        _ eventual: Eventual<Answer>, _ work: Task<Void, Never>, to writer: inout any ResponseBodyWriter
    ) async throws {
        do {
            var waited = 0
            while true {
                if let answer = await eventual.value(within: Self.heartbeat, on: runner.http.eventLoop) {
                    await runner.session?.ended(request.id)
                    await note(answer)
                    // Nobody waits for an answer to what was cancelled.
                    if work.isCancelled || answer.giveBack != nil && runner.http.isInputClosed {
                        await undo(answer)
                    } else {
                        try await writer.write(MCPResponse.event(answer.message))
                    }
                    return try await writer.finish(nil)
                }
                try Task.checkCancellation()
                waited += 1
                let seconds = (waited + 1) * 5
                if let token = request.progressToken, seconds % Self.progressInterval == 0 {
                    try await writer.write(
                        MCPResponse.event(Notification.progress(token, seconds: seconds, of: Machine.longestWait)))
                } else if waited % Self.silentHeartbeats == 0 {
                    try await writer.write(MCPResponse.comment)
                }
            }
        } catch {
            // The caller is gone, and so is what it waited on.
            work.cancel()
            await undo(await lastOf(eventual, work))
            throw error
        }
    }
}

extension MCPFailure {
    /// The status of an answer to a request that could be read: sessions have said all in the answer, and the answer is what is asked for.
    static func status(of error: RPCError, _ era: Machine.Era) -> Int {
        switch era {
        case .modern: error.status
        case .legacy: 200
        }
    }
}
