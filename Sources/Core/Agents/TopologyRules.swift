import Registers
import SyncProtocol

/// Who may do what to whom in a swarm. The one place that says so; it is only as true as agents' names are, which tokens have to fix.
package enum TopologyRules {
    package enum Verb: CaseIterable, Sendable {
        case message
        /// Hands a task to somebody, takes it away, or ends it.
        case assign
    }

    /// Whether one member may do something to another.
    ///
    /// - Parameters:
    ///   - neighbours: whether the one comes right after or before the other in the ring.
    package static func allows(
        _ verb: Verb, from: Member, to: Member, in configuration: SwarmConfiguration, areNeighbours: Bool
    ) -> Bool {
        if from.agent == to.agent { return true }
        let hub = configuration.coordinator
        switch configuration.topology {
        case .mesh: return true
        case .star:
            switch verb {
            case .message: return from.agent == hub || to.agent == hub
            case .assign: return from.agent == hub
            }
        case .ring: return areNeighbours
        case .hierarchical:
            let isDown = to.parent == from.agent || (to.parent == nil && from.agent == hub)
            let isUp = from.parent == to.agent || (from.parent == nil && to.agent == hub)
            switch verb {
            case .message: return isDown || isUp
            case .assign: return isDown
            }
        }
    }
}
