import Access
import Agents
import NIOCore
import Registers
import Simulation
import SyncEngine
import SyncProtocol
import Testing

/// A committer with the rules of swarms on a simulated disk, and callers that speak JSON to it.
struct TestSwarm {
    let disk = SimulatedDisk()
    private(set) var rules: SwarmRules
    private(set) var committer: Committer<SimulatedDisk, SwarmRules>
    var now: WallTime = 1_000_000
    /// What was answered late, by connection.
    private(set) var late: [Int: [JSONObject]] = [:]
    /// What ends with each connection.
    private(set) var ephemerals: [Int: [EphemeralKey]] = [:]
    private let decoder = ClientMessageDecoder(maximumValueSize: 1 << 20)
    private let limits: SwarmRules.Limits

    init(limits: SwarmRules.Limits = .init(), isMade: Bool = true) throws {
        self.limits = limits
        rules = SwarmRules(node: "n", limits: limits)
        committer = try Self.makeCommitter(disk, rules)
        if isMade { try call(#"{"type":"swarm.init","swarm":"s"}"#) }
    }

    private static func makeCommitter(
        _ disk: SimulatedDisk, _ rules: SwarmRules
    ) throws -> Committer<SimulatedDisk, SwarmRules> {
        Committer(
            store: disk, state: try disk.state(), loops: 1, maximumDrift: 60_000, cacheSize: 1 << 20, rules: rules,
            framing: { buffer, body in body(&buffer) })
    }

    /// The server starts again.
    mutating func restart() throws {
        rules = SwarmRules(node: "n", limits: limits)
        committer = try Self.makeCommitter(disk, rules)
        late = [:]
        ephemerals = [:]
        while !committer.endEphemerals(now: now).0.changes.isEmpty {}
        check()
    }

    /// What a message asks of the committer.
    func request(
        _ text: String, agent: String = "a", connection: Int = 1, grant: Grant = .unrestricted
    ) throws -> WriteRequest {
        let origin = Origin(loop: 0, connection: ConnectionID(slot: Int32(connection), generation: 0))
        let agent = try Agent(agent)
        let action: WriteRequest.Action
        switch try decoder.decode(Array(text.utf8).span) {
        case .call(let call): action = .call(call)
        case .write(let write): action = .write(write)
        case .lease(let lease): action = .lease(lease)
        case .touch(let touch): action = .touch(touch)
        case .batch(let batch): action = .batch(.init(batch, bearer: []))
        case let other: preconditionFailure("\(other) is nothing for the committer")
        }
        return WriteRequest(action: action, agent: agent, origin: origin, grant: grant)
    }

    /// Commits requests, and gives the answers in their order; nil: it waits, or is told nothing.
    @discardableResult
    mutating func commit(_ requests: [WriteRequest]) -> [JSONObject?] {
        let (committed, _) = committer.commit(requests, now: now)
        var answers: [JSONObject?] = []
        for result in committed.results[0] {
            let connection = Int(result.connection.slot)
            if let ephemeral = result.ephemeral { ephemerals[connection, default: []].append(ephemeral.key) }
            let answer = Self.text(result).flatMap { try? JSONObject($0) }
            if result.isLate {
                if let answer { late[connection, default: []].append(answer) }
            } else {
                answers.append(answer)
            }
        }
        check()
        return answers
    }

    @discardableResult
    mutating func call(
        _ text: String, agent: String = "a", connection: Int = 1, grant: Grant = .unrestricted
    ) throws -> JSONObject {
        let answer = commit([try request(text, agent: agent, connection: connection, grant: grant)])[0]
        return try #require(answer, "\(text) is not answered at once")
    }

    /// As ``call(_:agent:connection:grant:)``, where the call is to wait.
    mutating func wait(_ text: String, agent: String = "a", connection: Int = 1) throws {
        #expect(commit([try request(text, agent: agent, connection: connection)])[0] == nil, "\(text) does not wait")
    }

    /// What was answered late to a connection, which is forgotten.
    mutating func takeLate(_ connection: Int) -> [JSONObject] { late.removeValue(forKey: connection) ?? [] }

    /// Time passes, and what is due is done.
    mutating func pass(_ milliseconds: UInt64) {
        now = now + milliseconds
        while let due = committer.nextDue, due <= now { commit([]) }
    }

    /// A connection is gone.
    mutating func disconnect(_ connection: Int) {
        let origin = Origin(loop: 0, connection: ConnectionID(slot: Int32(connection), generation: 0))
        let agent = Agent(random: 0)
        var requests = [
            WriteRequest(action: .withdraw(nil, isAnswered: false), agent: agent, origin: origin)
        ]
        for key in ephemerals.removeValue(forKey: connection) ?? [] {
            requests.append(WriteRequest(action: .end(key), agent: agent, origin: origin))
        }
        commit(requests)
    }

    /// Something of the server's own.
    mutating func ask(_ action: WriteRequest.Action, connection: Int = 1) {
        let origin = Origin(loop: 0, connection: ConnectionID(slot: Int32(connection), generation: 0))
        commit([WriteRequest(action: action, agent: Agent(random: 0), origin: origin)])
    }

    private static func text(_ result: CommittedChanges.Result) -> [UInt8]? {
        var buffer = ByteBuffer()
        switch result.outcome {
        case .waiting, .done: return nil
        default: break
        }
        if let key = result.key {
            ServerMessage.writeOutcome(result.outcome, id: result.id, key: key, to: &buffer)
        } else {
            ServerMessage.writeOutcomeOfSeveral(result.outcome, id: result.id, shows: { _ in .everything }, to: &buffer)
        }
        return Array(buffer.readableBytesView)
    }

    // MARK: Looking

    func value(_ key: String) throws -> JSONObject? {
        try disk.committed[Key(key)]?.register.value.flatMap { try? JSONObject($0) }
    }

    func text(_ key: String) throws -> String? {
        try disk.committed[Key(key)]?.register.value.map { String(decoding: $0, as: UTF8.self) }
    }

    func status(_ task: String) throws -> String? { try value("swarm:s:task:\(task)")?.string("status") }

    /// The index says what one says that is made anew, and nothing is as it must not be.
    func check(sourceLocation: SourceLocation = #_sourceLocation) {
        guard rules.isLoaded else { return }
        let problem = rules.problem(now: now) { claim, fence in
            let stored = disk.committed[claim]
            return stored?.binding?.isExclusive == true && stored?.register.isTombstone == false
                && stored?.fence == fence
        }
        // What is done in portions is on its way.
        if committer.nextDue.map({ $0 > now }) ?? true, let problem {
            Issue.record("\(problem)", sourceLocation: sourceLocation)
        }
        let anew = SwarmRules(node: "n", limits: limits)
        guard var other = try? Self.makeCommitter(disk, anew) else { return }
        #expect(throws: Never.self, sourceLocation: sourceLocation) { try anew.makeIndex(&other) }
        #expect(anew.summary == rules.summary, sourceLocation: sourceLocation)
    }
}
