import SyncEngine

/// The writes that wait for the committer. Whoever owns it sees to its lock, and to waking the thread that looks into it.
struct CommitMailbox {
    /// How much may be waiting for the disk: beyond, writes are refused as `overloaded`.
    static let maximumCost = 256 << 20
    /// How many rows go into one commit, so that the first write of one does not wait for ever for the last, and of what cost.
    private static let maximumTaken = 4_096
    private static let maximumTakenCost = 16 << 20

    private enum Reader {
        case awake
        /// It sleeps, and wants to be woken when so many requests are there.
        case asleep(until: Int)
    }

    private enum State {
        case open
        /// No more is taken; what waits is carried out.
        case closed
    }

    private var requests: [WriteRequest] = []
    private var cost = 0
    /// How many rows they may change.
    private var rows = 0
    private var reader = Reader.awake
    private var state = State.open

    enum Receipt: Equatable {
        /// Too much is waiting, or the server is stopping: none of them was taken.
        case refused
        case queued
        /// They were queued, and the thread is to be woken.
        case queuedForSleeper
    }

    /// Takes writes in, all of them or none.
    mutating func put(_ new: [WriteRequest]) -> Receipt {
        let newCost = new.reduce(0) { $0 + $1.cost }
        // An empty queue takes anything: one write may be greater than the limit.
        guard state == .open, requests.isEmpty || cost + newCost <= Self.maximumCost else { return .refused }
        requests += new
        cost += newCost
        rows += new.reduce(0) { $0 + $1.rows }
        guard case .asleep(let wanted) = reader, requests.count >= wanted else { return .queued }
        reader = .awake
        return .queuedForSleeper
    }

    enum Look {
        case taken([WriteRequest])
        /// There are some, and it was to be waited for more.
        case few
        case none
        /// There are none, and there will be none.
        case closed
    }

    /// Takes out what goes into one commit, if so many are there; if not, the reader goes to sleep.
    ///
    /// - Parameter wanted: at least 1.
    mutating func look(wanted: Int) -> Look {
        if requests.isEmpty {
            if state == .closed { return .closed }
            reader = .asleep(until: 1)
            return .none
        }
        guard requests.count >= wanted || state == .closed else {
            reader = .asleep(until: wanted)
            return .few
        }
        reader = .awake
        return .taken(take())
    }

    private mutating func take() -> [WriteRequest] {
        if rows <= Self.maximumTaken, cost <= Self.maximumTakenCost {
            defer {
                requests = []
                cost = 0
                rows = 0
            }
            return requests
        }
        var count = 0
        var takenCost = 0
        var takenRows = 0
        while count < requests.count, count == 0 || takenCost < Self.maximumTakenCost && takenRows < Self.maximumTaken {
            takenCost += requests[count].cost
            takenRows += requests[count].rows
            count += 1
        }
        let taken = Array(requests[..<count])
        requests.removeFirst(count)
        cost -= takenCost
        rows -= takenRows
        assert(cost >= 0 && rows >= 0 && (!requests.isEmpty || cost == 0 && rows == 0))
        return taken
    }

    /// Takes no more writes in.
    mutating func close() { state = .closed }
}
