import Access
package import Registers
package import SyncEngine
package import SyncProtocol

/// The rules of swarms: what becomes of calls, and of tasks whose agents go, decided within the commit.
///
/// Rows are the truth. ``TaskGraph`` is an index over them, which is made anew at a start, and whenever nobody knows what a commit has come to.
package final class SwarmRules: Rules {
    package struct Limits: Sendable {
        /// How many tasks there may be that are not over, in all and in a swarm.
        package var tasks = 100_000
        package var tasksOfSwarm = 10_000
        /// How many calls may wait for a task.
        package var waiters = 4_096
        package var waitersOfConnection = 16
        /// How many messages an agent may have that it has not acknowledged.
        package var inbox = 1_000
        /// How many tasks one commit moves of its own accord; the others have the next ones.
        package var moves = 1_024
        /// How long a task is kept that is over, in milliseconds.
        package var retention: UInt64 = 30 * 86_400_000

        package init() {}
    }

    /// How long a message in an inbox, one on the board, a line of the log and a progress live, in milliseconds.
    static let inboxLife: UInt64 = 7 * 86_400_000
    static let boardLife: UInt64 = 86_400_000
    static let logLife: UInt64 = 7 * 86_400_000
    static let progressLife: UInt64 = 3_600_000

    let limits: Limits
    /// The name of this server in what it names itself.
    let node: [UInt8]
    var graph = TaskGraph()
    package var isLoaded: Bool { index != .missing }
    var index = Index.missing

    /// Whether the index is there.
    enum Index {
        case missing
        /// It was made in the commit under way: should that fail, what followed from it is made again.
        case made
        case loaded
    }

    /// Tasks that have become ready in the commit and that nobody has been offered.
    var fresh: [TaskSlot] = []
    /// How many tasks were moved in the commit of their own accord.
    var moves = 0
    /// When tasks were completed, for the status: by swarm and second.
    private var completions: [Segment: [UInt64: Int]] = [:]
    private var newCompletions: [Segment] = []
    private var latest: WallTime = 0
    /// What statuses have told of a swarm's dependencies.
    var shapes: [SwarmSlot: Shape] = [:]

    struct Shape {
        /// As of which ``TaskGraph/changes``.
        var changes: UInt64
        var longestChain: Int
        /// As JSON.
        var blocked: [UInt8]
    }

    /// When the index was made first.
    var since: WallTime = 0

    /// - Parameter node: the name of this server.
    package init(node: String, limits: Limits = Limits()) {
        // It is part of keys.
        self.node = (try? Segment(node))?.escaped ?? Array("node".utf8)
        self.limits = limits
    }

    package func guards(_ key: Key) -> Bool { SwarmKey.isGuarded(key) }
    package func isNeverClaimed(_ key: Key) -> Bool { SwarmKey.isOfSwarm(key) && SwarmKey.isNeverClaimed(key) }
    package func watches(_ key: Key) -> Bool { SwarmKey.isOfSwarm(key) }

    // MARK: Commits

    /// A millisecond's.
    package var maximumStamps: Int { 1 << 16 }

    package func committed() {
        if index == .made { index = .loaded }
        graph.committed()
        fresh = []
        moves = 0
        for swarm in newCompletions {
            completions[swarm, default: [:]][latest.seconds, default: 0] += 1
            if completions[swarm]?.count ?? 0 > 120 { _ = completedLately(swarm, now: latest) }
        }
        newCompletions = []
    }

    package func rolledBack() {
        if index == .made { index = .missing }
        graph.rolledBack()
        fresh = []
        moves = 0
        newCompletions = []
    }

    package func forget() {
        rolledBack()
        graph.forget()
        shapes = [:]
        index = .missing
    }

    package var nextDue: WallTime? {
        guard let deadline = graph.nextDeadline(), let due = graph.nextDue else {
            return graph.nextDeadline() ?? graph.nextDue
        }
        return min(deadline, due)
    }

    package func carryOutDue(_ commit: inout some CallContext) throws(StoreError) {
        let isOver = graph.nextDeadline().map { $0 <= commit.now } ?? false
        for slot in isOver ? graph.swarms.indices.map({ SwarmSlot(index: Int32($0)) }) : [] {
            let over = graph[slot].facts.waiters.filter { $0.deadline <= commit.now }
            guard !over.isEmpty else { continue }
            graph.update(slot) { $0.waiters.removeAll { $0.deadline <= commit.now } }
            for waiter in over { answerNone(waiter, &commit) }
        }
        try storeErrors { try settle(&commit) }
    }

    /// As how many moves a task counts: what it depends on has to hear of it.
    static func weight(of node: TaskNode) -> Int { weight(dependencies: node.dependencies.count) }
    static func weight(dependencies count: Int) -> Int { 1 + count / 32 }

    /// Moves the tasks that are due, and hands out those that have become ready: the last step of whatever changes anything.
    func settle(_ commit: inout some CallContext) throws {
        try takeDown(&commit)
        while moves < limits.moves, let slot = graph.firstDue(at: commit.now) {
            moves += Self.weight(of: graph[slot])
            let before = commit.changeCount
            do {
                try advance(slot, &commit)
            } catch  where !(error is StoreError) && commit.changeCount == before {
                // What cannot be moved must not keep everything else from being written; it is tried again after the next start.
                graph.update(slot) { $0.isSetAside = true }
            }
        }
        try offerFresh(&commit)
    }

    /// Notes that a task was completed.
    func noteCompletion(of swarm: Segment, at now: WallTime) {
        latest = now
        newCompletions.append(swarm)
    }

    /// How many tasks of a swarm were completed in the last minute; nil: the server has not run for so long.
    func completedLately(_ swarm: Segment, now: WallTime) -> Int? {
        let recent = (completions[swarm] ?? [:]).filter { $0.key + 60 > now.seconds }
        completions[swarm] = recent.isEmpty ? nil : recent
        return now.milliseconds < since.milliseconds + 60_000 ? nil : recent.values.reduce(0, +)
    }

    // MARK: Calls

    package func carryOut(
        _ call: Call, _ request: WriteRequest, _ commit: inout some CallContext
    ) throws(StoreError) {
        let before = commit.changeCount
        do {
            if let known = try known(call, request, &commit) { return commit.answer(request, known, isLate: false) }
            let decided = try decide(call, request, &commit)
            try settle(&commit)
            guard let answer = try decided.map({ try settled($0, call, request, &commit) }) else { return }
            keep(answer, of: call, request, &commit)
            commit.answer(request, .called(answer), isLate: false)
        } catch let error as StoreError {
            throw error
        } catch {
            // Refused is refused as a whole: what was checked too late takes the commit with it.
            guard commit.changeCount == before else {
                throw StoreError("\(call.name.rawValue) was refused after it had changed something: \(error)")
            }
            commit.answer(request, .refused(Self.refusal(error)), isLate: false)
        }
    }

    private static func refusal(_ error: any Error) -> WireError {
        switch error {
        case let error as WireError: return error
        case let error as TextError: return WireError(.badKey, error.description)
        default:
            preconditionFailure("\(error) is thrown by nothing here")
        }
    }

    /// - Returns: nil where it waits, or has been answered.
    private func decide(
        _ call: Call, _ request: WriteRequest, _ commit: inout some CallContext
    ) throws -> CallAnswer? {
        let caller = Caller(call, request)
        if call.name != .swarmInit { _ = try swarmSlot(caller) }
        return switch call.action {
        case .initialize(let settings): try initialize(settings, caller, &commit)
        case .join(let membership): try join(membership, caller, &commit)
        case .leave: try leave(caller, &commit)
        case .status: try status(caller, &commit)
        case .end: try end(caller, &commit)
        case .submit(let tasks): try submit(tasks, caller, &commit)
        case .next(let next): try self.next(next, caller, &commit)
        case .progress(let fenced, let value): try progress(fenced, value, caller, &commit)
        case .complete(let fenced, let result): try complete(fenced, result, caller, &commit)
        case .fail(let fenced, let error, let retries): try fail(fenced, error, retries, caller, &commit)
        case .release(let fenced): try release(fenced, caller, &commit)
        case .park(let fenced, let reason): try park(fenced, reason, caller, &commit)
        case .resume(let task): try resume(task, caller, &commit)
        case .retry(let task, let cascades): try retry(task, cascades, caller, &commit)
        case .cancel(let task, let cascades): try cancel(task, cascades, caller, &commit)
        case .assign(let task, let agent): try assign(task, agent, caller, &commit)
        case .revoke(let task): try revoke(task, caller, &commit)
        case .depend(let task, let on): try depend(task, on, caller, &commit)
        case .send(let mail): try send(mail, caller, &commit)
        case .acknowledge(let keys): try acknowledge(keys, caller, &commit)
        }
    }
}

/// Who calls, and what.
struct Caller {
    let call: Call
    let request: WriteRequest

    init(_ call: Call, _ request: WriteRequest) {
        self.call = call
        self.request = request
    }

    var swarm: Segment { call.swarm }
    var agent: Segment { Segment(request.agent) }

    /// Whether it may write a key.
    func mayWrite(_ key: Key) -> Bool { request.grant?.write.admits(key) ?? true }
    func mayRead(_ key: Key) -> Bool { request.grant?.read.admits(key) ?? true }
}
