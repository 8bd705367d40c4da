package import Registers

/// What became of registers from another database.
package struct ReplicationReceipt: Equatable, Sendable {
    package struct Refusal: Equatable, Sendable {
        package var key: Key
        package var error: WireError

        package init(_ key: Key, _ error: WireError) {
            self.key = key
            self.error = error
        }
    }

    /// How many took their place.
    package var applied = 0
    /// How many were in place already.
    package var same = 0
    /// How many met a greater register, which stays.
    package var superseded = 0
    package var refused: [Refusal] = []

    package init() {}
}
