package import Registers

/// What a call wants to be allowed: writing every one of some keys, and reading others.
package struct CallRights: Sendable {
    package var writes: [Key]
    package var reads: [Key]
    /// Of these, some key at least is to be written.
    package var some: Pattern?

    package init(writes: [Key] = [], reads: [Key] = [], some: Pattern? = nil) {
        self.writes = writes
        self.reads = reads
        self.some = some
    }
}
