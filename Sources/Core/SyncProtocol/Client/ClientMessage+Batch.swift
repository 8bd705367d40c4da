package import Registers

extension ClientMessage {
    /// `{"type":"batch","require":[…],"writes":[…]}`: several keys that change together, or not at all.
    package struct Batch: Sendable {
        /// How many writes there may be, and how many requirements.
        package static let maximumMembers = 256

        package var id: RequestID?
        /// Makes a resend safe: its answer is kept.
        package var op: [UInt8]?
        /// Tells a resend from another batch that was given the same op by mistake: ``hash``. Only where there is an op.
        package var fingerprint: UInt64 = 0
        /// What has to be in place, of other keys too.
        package var requirements: [Requirement]
        /// Each of another key.
        package var members: [Member]

        package init(
            id: RequestID? = nil, op: [UInt8]? = nil, requirements: [Requirement] = [], members: [Member]
        ) {
            self.id = id
            self.op = op
            self.requirements = requirements
            self.members = members
        }

        /// How much it requires: requirements, conditions of its writes, and releases.
        package var conditions: Int {
            members.reduce(requirements.count) { count, member in
                switch member {
                case .write(let write): count + (write.condition == .none ? 0 : 1)
                case .release: count + 1
                }
            }
        }

        /// The claims that it gives up.
        package var released: [ClientMessage.FencedKey] {
            members.compactMap { member in
                guard case .release(let lease) = member, let fence = lease.fence else { return nil }
                return ClientMessage.FencedKey(key: lease.key, fence: fence)
            }
        }
    }
}

extension ClientMessage.Batch {
    /// What has to be in place of one key.
    package struct Requirement: Equatable, Sendable {
        package enum State: Equatable, Sendable {
            case absent
            case version(Version)
            /// The claim with this fencing token is in force.
            case fence(Fence)
        }

        package var key: Key
        package var state: State

        package init(key: Key, state: State) {
            self.key = key
            self.state = state
        }
    }

    /// What becomes of one key.
    package enum Member: Sendable {
        /// A write or a delete that the server stamps, with a condition of its own if need be.
        case write(ClientMessage.Write)
        /// A claim is given up. Its fence is there.
        case release(ClientMessage.Lease)

        package var key: Key {
            switch self {
            case .write(let write): write.key
            case .release(let lease): lease.key
            }
        }
    }
}
