package import SyncEngine

/// Keeping the log of revisions short: what is done where nothing else is to be done.
extension SQLiteWriter {
    /// Whether there is enough of it for a portion.
    package var canClean: Bool { revisions.hasPortion }

    /// Deletes some rows of the log that are stale, or looks for some. It takes less than a millisecond, and a sync where it deletes.
    package func clean() throws(StoreError) {
        do throws(StoreError) {
            // What is found is deleted before more is looked for.
            if !revisions.isWorthCleaning, try revisions.sweepPortion() { return }
            _ = try cleanPortion(isLast: false)
        } catch {
            // What cannot be done now is the next start's.
            revisions.giveUp()
            throw error
        }
    }

    /// Deletes all rows of the log that are known to be stale, and notes whether that leaves none: before the database is closed.
    package func finishCleaning() throws(StoreError) {
        while try cleanPortion(isLast: true) > 0 {}
    }

    /// - Returns: how many are left.
    private func cleanPortion(isLast: Bool) throws(StoreError) -> Int {
        try transact { () throws(StoreError) in
            let left = try revisions.clean()
            if isLast, left == 0, revisions.isSwept { try upkeep.write(.logIsSwept, "1") }
            return left
        }
    }
}
