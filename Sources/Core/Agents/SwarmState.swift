import Registers
import SyncProtocol

/// What is remembered of a swarm.
struct SwarmState: Sendable {
    let name: Segment
    var facts = SwarmFacts()
    /// The tasks that wait for an agent.
    var ready = SortedList<ReadyRank>()
    /// How many of its tasks there are with each status, of those that are not over.
    var counts: [TaskStatus: Int] = [:]
    /// The tasks that agents have.
    var working: Set<TaskSlot> = []
    /// Those that are ready, by whom they are meant for.
    var assigned: [Segment: Set<TaskSlot>] = [:]

    init(_ name: Segment) { self.name = name }

    var live: Int { counts.values.reduce(0, +) }

    /// Whether there is nothing to be remembered.
    var isEmpty: Bool {
        facts.configuration == nil && live == 0 && facts.present.isEmpty && facts.members.isEmpty
            && facts.waiters.isEmpty
    }
}

/// What is remembered of a swarm beside its tasks: taken back as a whole where a commit fails.
struct SwarmFacts: Sendable {
    /// nil: there is no such register.
    var configuration: SwarmConfiguration?
    var members: [Segment: Member] = [:]
    /// The presences that each agent has.
    var present: [Segment: Set<Segment>] = [:]
    /// Those who wait for a task, the one that has waited longest first.
    var waiters: [Waiter] = []

    /// Whether there is a swarm that tasks can be made in.
    var isThere: Bool { configuration != nil && !isEnding }

    /// Whether its tasks are being cancelled.
    var isEnding: Bool { configuration?.endedAt != nil }

    mutating func note(_ presence: Segment, of agent: Segment, isThere: Bool) {
        if isThere {
            present[agent, default: []].insert(presence)
        } else {
            present[agent]?.remove(presence)
            if present[agent]?.isEmpty == true { present[agent] = nil }
        }
    }

    /// As it is by default where nobody has said how.
    var settings: SwarmConfiguration { configuration ?? SwarmConfiguration() }

    /// The members in the order of the ring.
    var ring: [Member] {
        members.values.sorted { left, right in
            left.position == right.position
                ? ByteOrder.compare(left.agent.bytes, right.agent.bytes) < 0 : left.position < right.position
        }
    }

    /// Whether two members come one after the other in the ring.
    func areNeighbours(_ one: Segment, _ other: Segment) -> Bool {
        let ring = ring
        guard let first = ring.firstIndex(where: { $0.agent == one }),
            let second = ring.firstIndex(where: { $0.agent == other })
        else { return false }
        let distance = abs(first - second)
        return distance == 1 || distance == ring.count - 1
    }
}
