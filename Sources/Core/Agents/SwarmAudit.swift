package import Registers
import SyncProtocol

/// Looks through the rows of all tasks in a snapshot of a database: what they say of themselves has to be what the others say. Give it every
/// register, in any order.
package struct SwarmAudit {
    private let now: WallTime
    private var rows: [Key: TaskRow] = [:]
    private var claims: [Key: Claim] = [:]

    private struct Claim {
        var fence: Fence
        /// Whether its lease is over, and no server has ended it since.
        var isOver: Bool
    }

    package init(now: WallTime) { self.now = now }

    /// How many tasks there are.
    package var count: Int { rows.count }

    package mutating func note(_ stored: StoredRegister) {
        switch SwarmKey(stored.register.key) {
        case .task(let swarm, let task)?:
            guard let value = stored.register.value, let row = TaskRow(value, swarm: swarm, task: task) else { return }
            rows[stored.register.key.detached] = row
        case .claim(let swarm, let task)?:
            guard let key = try? SwarmKey.task(swarm, task).key(), !stored.register.isTombstone,
                stored.binding?.isExclusive == true
            else { return }
            claims[key] = Claim(fence: stored.fence, isOver: !stored.isHeld(at: now))
        default: return
        }
    }

    /// What is not as it must be, in the order of the tasks' keys. A server that starts on the database hands out again what nobody has.
    package var problems: [String] {
        rows.sorted { $0.key < $1.key }.flatMap { key, row in
            problems(of: row).map { "\(key): \($0)" }
        }
    }

    private func problems(of row: TaskRow) -> [String] {
        guard let key = try? SwarmKey.task(row.swarm, row.task).key() else { return ["its names are too long"] }
        var problems: [String] = []
        if row.status == .working, claims[key]?.fence != row.fence {
            problems.append("it is working under fence \(row.fence ?? 0), and nobody has its claim")
        }
        if row.status != .working, let claim = claims[key], !claim.isOver {
            problems.append("it is \(row.status.rawValue), and is claimed under fence \(claim.fence)")
        }
        // With the policy `run`, what it depends on may have failed, and be retried since.
        guard row.status == .ready, row.startedAt == nil, row.failurePolicy != .run else { return problems }
        for dependency in row.dependencies {
            // One that is gone has ended long ago.
            guard let other = (try? SwarmKey.task(row.swarm, dependency).key()).flatMap({ rows[$0] }) else { continue }
            if !other.status.satisfies(row.failurePolicy) {
                problems.append("it is ready, and depends on \(dependency), which is \(other.status.rawValue)")
            }
        }
        return problems
    }
}
