package import Registers

/// A register that ends with its connection: a claim or a presence with `"until":"disconnect"`.
package struct EphemeralKey: Hashable, Sendable {
    package let key: Key
    /// Tells this register from earlier and later ones of the key.
    package let fence: Fence

    package init(key: Key, fence: Fence) {
        // It outlives the write that it is of.
        self.key = key.detached
        self.fence = fence
    }
}
