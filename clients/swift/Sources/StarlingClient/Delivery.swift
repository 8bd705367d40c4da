import Synchronization

/// What a subscriber has still to be told. Up to a thousand updates wait one by one; beyond that a newer update takes the
/// place of the one that waits for its key, so that however slow a subscriber is, what waits is bounded by the number of keys.
final class Delivery: Sendable {
    private static let buffer = 1_024

    private typealias Reader = CheckedContinuation<Void, Never>

    private struct State {
        /// What waits, from `head` on.
        var waiting: [(slot: Slot, update: Update)] = []
        var head = 0
        /// How many were taken off the front of the array.
        var removed = 0
        /// Where the newest that waits for each slot is, counted from the first update ever.
        var latest: [Slot: Int] = [:]
        /// Who waits for an update, by numbers of their own.
        var readers: [Int: Reader] = [:]
        var nextReader = 0
        var isClosed = false
        var error: StarlingError?
        /// Whether a callback is running, and who waits for its end.
        var isCalling = false
        var finishers: [CheckedContinuation<Void, Never>] = []
    }

    private let state = Mutex(State())

    func push(_ slot: Slot, _ update: Update) {
        let readers = state.withLock { state in
            if state.isClosed { return Self.takeReaders(&state) }
            if let place = state.latest[slot], state.waiting.count - state.head >= Self.buffer {
                state.waiting[place - state.removed].update = update
            } else {
                state.latest[slot] = state.removed + state.waiting.count
                state.waiting.append((slot, update))
            }
            return Self.takeReaders(&state)
        }
        for reader in readers { reader.resume() }
    }

    /// All who wait: one alone might have been cancelled meanwhile, and the others would not hear of it.
    private static func takeReaders(_ state: inout State) -> [Reader] {
        if state.readers.isEmpty { return [] }
        defer { state.readers = [:] }
        return Array(state.readers.values)
    }

    private static func take(_ state: inout State) -> Update? {
        guard state.head < state.waiting.count else { return nil }
        let (slot, update) = state.waiting[state.head]
        if state.latest[slot] == state.removed + state.head { state.latest[slot] = nil }
        state.head += 1
        if state.head > 256, state.head * 2 > state.waiting.count {
            state.waiting.removeFirst(state.head)
            state.removed += state.head
            state.head = 0
        }
        return update
    }

    /// The next update, when there is one; nil at the end, and when the task is cancelled.
    ///
    /// - Throws: ``StarlingError``: what the subscription failed with.
    func next(forCallback: Bool = false) async throws(StarlingError) -> Update? {
        while !Task.isCancelled {
            let found: Result<Update?, StarlingError>? = state.withLock { state in
                if forCallback { Self.finishCall(&state) }
                if let update = Self.take(&state) {
                    state.isCalling = forCallback
                    return .success(update)
                }
                if let error = state.error { return .failure(error) }
                return state.isClosed ? .success(nil) : nil
            }
            if let found { return try found.get() }
            await waitForMore()
        }
        return nil
    }

    /// Returns when an update may have come: another reader may have taken it.
    private func waitForMore() async {
        let place = state.withLock { state in
            state.nextReader += 1
            return state.nextReader
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { (reader: Reader) in
                let isReady = state.withLock { state in
                    if state.isClosed || state.head < state.waiting.count || Task.isCancelled { return true }
                    state.readers[place] = reader
                    return false
                }
                if isReady { reader.resume() }
            }
        } onCancel: {
            state.withLock { $0.readers.removeValue(forKey: place) }?.resume()
        }
    }

    private static func finishCall(_ state: inout State) {
        state.isCalling = false
        let finishers = state.finishers
        state.finishers = []
        for finisher in finishers { finisher.resume() }
    }

    /// The loop of callbacks is over.
    func finishCalls() { state.withLock { Self.finishCall(&$0) } }

    /// Ends it: what waits is dropped.
    func close(_ error: StarlingError?) {
        let readers = state.withLock { state in
            state.isClosed = true
            state.error = error
            state.waiting = []
            state.removed = 0
            state.head = 0
            state.latest = [:]
            return Self.takeReaders(&state)
        }
        for reader in readers { reader.resume() }
    }

    /// Waits until no callback runs any more.
    func callsFinished() async {
        await withCheckedContinuation { continuation in
            let isIdle = state.withLock { state in
                if !state.isCalling { return true }
                state.finishers.append(continuation)
                return false
            }
            if isIdle { continuation.resume() }
        }
    }
}
