public import Foundation

/// A swarm of agents that share tasks: `docs/swarms.md` says what is promised.
public struct Swarm: Sendable {
    /// Whose agent this is.
    public let client: StarlingClient
    /// The swarm's.
    public let name: String

    /// What is asked again: there is no server for the moment, or it has too much to do.
    private static let passing: Set<String> = [
        "offline", "outcome_unknown", "timeout", "overloaded", "storage_failed", "rate_limited", "shutting_down",
        "too_many_waiters",
    ]
    private static let rest = Duration.milliseconds(200)
    private static let longestRest = Duration.seconds(5)
    /// How long one `task.next` of the loop waits, and how long to rest where there is no such swarm.
    private static let wait = Duration.seconds(30)
    private static let restWithoutSwarm = Duration.seconds(1)

    /// - Parameters:
    ///   - client: whose agent this is.
    ///   - name: the swarm's.
    public init(_ client: StarlingClient, _ name: String) {
        self.client = client
        self.name = name
    }

    /// The fields of a call.
    public typealias Fields = [String: any Encodable & Sendable]

    /// Makes one call (`protocol/README.md`, Swarms).
    ///
    /// - Returns: the answer as JSON.
    /// - Throws: ``StarlingError``: what the server has against it.
    @discardableResult
    public func request(
        _ type: String, _ fields: Fields = [:], timeout: Duration = StarlingClient.patience
    ) async throws -> Data {
        try await client.request(type, Members(fields.merging(["swarm": name]) { $1 }), timeout: timeout)
    }

    /// Makes a call that does no harm when it arrives twice, again and again while there is no server.
    func insist(_ type: String, _ fields: Fields, timeout: Duration = StarlingClient.patience) async throws -> Data {
        var rest = Self.rest
        while true {
            do {
                return try await request(type, fields, timeout: timeout)
            } catch let error as StarlingError where Self.passing.contains(error.code) {
                try await Task.sleep(for: max(rest, error.retryAfter))
                rest = min(rest * 2, Self.longestRest)
            }
        }
    }

    /// Makes the swarm, if it is not there: `topology`, `lease` and so on are the call's fields.
    public func make(_ settings: Fields = [:]) async throws {
        _ = try await insist("swarm.init", settings)
    }

    /// Makes this agent a member, and present until it disconnects; it has to join again after that.
    public func join(role: String? = nil, capabilities: [String] = []) async throws {
        try await request("swarm.join", ["role": role, "capabilities": capabilities])
    }

    /// Makes tasks, all or none; sent again until it is known that they are there, and made once.
    ///
    /// - Parameter tasks: each with the fields of `task.submit`.
    /// - Returns: their names.
    public func submit(_ tasks: [Fields]) async throws -> [String] {
        struct Answer: Decodable { var ids: [String] }
        let fields: Fields = ["tasks": tasks.map { Members($0) }, "op": Self.makeOp()]
        return try JSONDecoder().decode(Answer.self, from: try await insist("task.submit", fields)).ids
    }

    /// Takes the next task.
    ///
    /// - Parameters:
    ///   - wait: how long to wait for one, a minute at most.
    ///   - lease: how long it is this agent's unless it is renewed; nil: as the swarm has it.
    public func next(
        wait: Duration = .zero, lease: Duration? = nil, capabilities: [String] = []
    ) async throws -> SwarmTask? {
        var fields: Fields = [
            "wait": Self.seconds(wait), "capabilities": capabilities, "op": Self.makeOp(),
        ]
        if let lease { fields["lease"] = Self.seconds(lease) }
        return try SwarmTask(self, await insist("task.next", fields, timeout: wait + StarlingClient.patience))
    }

    private static func seconds(_ duration: Duration) -> Double { duration / .seconds(1) }

    private static func makeOp() -> String { UUID().uuidString }

    // MARK: Work

    /// Works on tasks, one after the other, until its task is cancelled; then it gives back the one that it has. It lives on when the server does
    /// not for a while. What `body` returns is the task's result; what it throws is its failure, and somebody may try again. Should the task be
    /// lost meanwhile, `body` is cancelled.
    public func work(
        lease: Duration? = nil, capabilities: [String] = [],
        _ body: @escaping @Sendable (SwarmTask) async throws -> (any Encodable & Sendable)?
    ) async throws {
        let presence = Self.makeOp()
        var joinedAt: ContinuousClock.Instant?
        while true {
            try Task.checkCancellation()
            do {
                // Now and then, since it ends with the connection: under one name, which is there or is made. Who may not works all the same.
                if joinedAt.map({ .now - $0 > Self.wait }) ?? true {
                    let fields: Fields = ["role": "worker", "capabilities": capabilities, "presence": presence]
                    if (try? await request("swarm.join", fields)) != nil { joinedAt = .now }
                }
                guard let task = try await next(wait: Self.wait, lease: lease, capabilities: capabilities) else {
                    continue
                }
                try await carryOut(task, body)
            } catch let error as StarlingError where error.code == "absent" {
                // Nobody has made the swarm yet, or it has ended.
                try await Task.sleep(for: Self.restWithoutSwarm)
            }
        }
    }

    fileprivate enum End: Sendable {
        case done(Result<(any Encodable & Sendable)?, any Error>)
        case lost
    }

    private func carryOut(
        _ task: SwarmTask, _ body: @escaping @Sendable (SwarmTask) async throws -> (any Encodable & Sendable)?
    ) async throws {
        let end = await withTaskGroup(of: End.self) { group in
            group.addTask {
                do {
                    return .done(.success(try await body(task)))
                } catch {
                    return .done(.failure(error))
                }
            }
            group.addTask { await task.keep() }
            defer { group.cancelAll() }
            return await group.next() ?? .lost
        }
        if Task.isCancelled {
            // Whoever stops this waits for it: the task is not to wait for the end of its lease.
            try? await Task { try await task.release() }.value
            throw CancellationError()
        }
        do {
            switch end {
            case .lost: return
            case .done(.success(let result)): try await complete(task, result)
            case .done(.failure(let error)): try await task.fail("\(error)", retries: true)
            }
        } catch let error as StarlingError where error.code == "stale_fence" {
            // It was done too late: somebody else has it.
        }
    }

    private func complete(_ task: SwarmTask, _ result: (any Encodable & Sendable)?) async throws {
        do {
            try await task.complete(result)
        } catch let error as StarlingError where ["bad_value", "too_large"].contains(error.code) {
            try await task.fail("its result cannot be kept: \(error)")
        }
    }

    fileprivate static func isLoss(_ error: any Error) -> Bool {
        guard let error = error as? StarlingError else { return false }
        return error.code == "stale_fence" || error.code == "absent"
    }

    /// An object of members that are each encoded as they are.
    struct Members: Encodable, Sendable {
        private let fields: Fields

        init(_ fields: Fields) { self.fields = fields }

        private struct Name: CodingKey {
            var stringValue: String
            var intValue: Int? { nil }
            init(stringValue: String) { self.stringValue = stringValue }
            init?(intValue: Int) { nil }
        }

        func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: Name.self)
            for (name, value) in fields { try container.encode(value, forKey: Name(stringValue: name)) }
        }
    }
}

/// A task that was handed to this agent. It is its own until it is completed, or lost: then its calls throw `stale_fence`.
public struct SwarmTask: Sendable {
    private let swarm: Swarm
    /// Its name in the swarm.
    public let id: String
    /// To be shown with whatever is written for the task.
    public let fence: UInt64
    /// The key of its claim.
    public let claim: String
    /// The answer that handed it out, as JSON: with the task's row, and its input.
    public let json: Data
    private let lease: Duration

    private struct Answer: Decodable {
        struct Row: Decodable {
            var task_id: String
            var lease: Double?
        }
        var task: Row?
        var fence: UInt64?
        var claim: String?
    }

    /// - Returns: nil where there was none.
    init?(_ swarm: Swarm, _ json: Data) throws {
        let answer = try JSONDecoder().decode(Answer.self, from: json)
        guard let row = answer.task, let fence = answer.fence else { return nil }
        self.swarm = swarm
        self.json = json
        id = row.task_id
        self.fence = fence
        claim = answer.claim ?? ""
        lease = .seconds(row.lease ?? 60)
    }

    /// What the task is about.
    ///
    /// - Throws: `DecodingError` where it is something else, or there is none that may be read.
    public func input<Input: Decodable>(as _: Input.Type = Input.self) throws -> Input {
        try JSONDecoder().decode(Whole<Input>.self, from: json).input
    }

    private struct Whole<Input: Decodable>: Decodable {
        var input: Input
    }

    /// Says how far it is, and renews the lease. The loop renews it by itself, too.
    public func progress(_ value: (any Encodable & Sendable)? = nil) async throws {
        try await tell("task.progress", value.map { ["value": $0] } ?? [:])
    }

    /// Says that it is done.
    ///
    /// - Parameter result: what came of it; nil: nothing that is kept.
    public func complete(_ result: (any Encodable & Sendable)? = nil) async throws {
        try await tell("task.complete", result.map { ["result": $0] } ?? [:])
    }

    /// Says that it cannot be done.
    ///
    /// - Parameters:
    ///   - error: why not.
    ///   - retries: whether somebody may try again, as long as the task has attempts left.
    public func fail(_ error: String, retries: Bool = false) async throws {
        try await tell("task.fail", ["error": error, "retry": retries])
    }

    /// Gives it back; the attempt does not count.
    public func release() async throws { try await tell("task.release", [:]) }

    private func tell(_ type: String, _ fields: Swarm.Fields) async throws {
        let own: Swarm.Fields = ["task": id, "fence": fence]
        _ = try await swarm.insist(type, own.merging(fields) { $1 })
    }

    /// Renews the lease until the task is lost, or this is cancelled.
    fileprivate func keep() async -> Swarm.End {
        while true {
            do {
                try await Task.sleep(for: lease / 3)
                try await progress()
            } catch  where Swarm.isLoss(error) || error is CancellationError {
                return .lost
            } catch {}
        }
    }
}
