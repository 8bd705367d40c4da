/// A request that is known again: by the op that its sender made up, among those of the same bearer.
package struct OperationID: Hashable, Sendable {
    package let op: [UInt8]
    /// ``Grant/bearer``.
    package let bearer: [UInt8]

    package init(op: [UInt8], bearer: [UInt8]) {
        self.op = op
        self.bearer = bearer
    }
}
