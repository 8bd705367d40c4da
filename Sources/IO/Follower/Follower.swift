import Access
package import Loops
package import NIOCore
package import Registers
import SyncProtocol

/// Keeps a ``DerivedStore`` up to date: a connection within the process that is subscribed to some patterns. It is told what every subscriber is told,
/// and conflated like any other when it is slow; it reads no database of the server's, and nothing waits for it.
///
/// The store is thrown away and filled anew when it is damaged, and when its cursor leads nowhere any more.
package actor Follower<Store: DerivedStore> {
    /// How far it is behind what was asked for.
    package enum Position: Equatable, Sendable {
        case reached
        /// By so many commits at most.
        case behind(UInt64)
    }

    private struct Waiter {
        var id: UInt64
        var revision: Revision
        var continuation: CheckedContinuation<Bool, Never>
    }

    /// Why it has to begin anew.
    private struct StartAgain: Error {}

    /// How many changes are kept at once.
    private static var portionSize: Int { 256 }
    /// For how long it leaves the machine to others after a full portion, as so many times what that took.
    private static var idleShare: Int { 2 }
    private static var slice: Duration { .milliseconds(2) }
    /// How long it rests before it begins anew, at first and at most: a store that cannot be kept, on a full disk for example, is not to take all of the
    /// machine.
    private static var rest: Duration { .milliseconds(200) }
    private static var longestRest: Duration { .seconds(10) }

    package nonisolated let store: Store
    private let patterns: [String]
    private let connections: InProcessConnections
    private let eventLoop: any EventLoop
    private let note: @Sendable (String) -> Void

    private var connection: InProcessConnection?
    /// The subscriptions that have told of everything there was.
    private var synced: Set<Int> = []
    /// How long it rests next.
    private var rest = Follower.rest
    private var position: Revision = 0
    private var waiters: [Waiter] = []
    private var lastWaiter: UInt64 = 0

    /// - Parameters:
    ///   - eventLoop: where its connection is to be at home.
    ///   - note: is told what goes wrong.
    package init(
        _ store: Store, patterns: [String], _ connections: InProcessConnections, on eventLoop: any EventLoop,
        note: @escaping @Sendable (String) -> Void
    ) {
        self.store = store
        self.patterns = patterns
        self.connections = connections
        self.eventLoop = eventLoop
        self.note = note
    }

    /// Whether it has been told of everything that there was when it began.
    package var isComplete: Bool { synced.count == patterns.count }

    /// Follows until the task is cancelled.
    package func run() async {
        while !Task.isCancelled {
            do {
                try await follow()
            } catch is StartAgain {
                await discard(because: "its place in the order of changes is gone")
            } catch {
                await discard(because: "\(error)")
            }
            connection = nil
            synced = []
            try? await Task.sleep(for: rest)
            rest = min(rest * 2, Self.longestRest)
        }
        for waiter in waiters { waiter.continuation.resume(returning: false) }
        waiters = []
    }

    private func discard(because reason: String) async {
        if Task.isCancelled { return }
        note("what is derived from registers is made anew: \(reason)")
        synced = []
        do { try await store.discard() } catch { note("and cannot be thrown away: \(error)") }
    }

    private func follow() async throws {
        let cursors = try await store.open(patterns: patterns)
        let connection = try await connections.open(.server, on: eventLoop, isTaken: true)
        self.connection = connection
        defer { connection.close() }
        for (index, pattern) in patterns.enumerated() {
            var request = SyncMessage("subscribe")
            request.add("id", "\(index)")
            request.add("pattern", pattern)
            request.add("since", cursors[index])
            request.add("cursors", true)
            connection.send(request)
        }
        askForPosition()
        var portion = Portion()
        while !Task.isCancelled {
            switch await connection.next(within: .seconds(1)) {
            case .messages(let messages):
                for message in messages { try await take(message, into: &portion) }
                try await keep(&portion)
            case .silence: continue
            case .end: return
            }
        }
    }

    private func take(_ message: ByteBuffer, into portion: inout Portion) async throws {
        guard let object = try? JSONObject(Array(message.readableBytesView)) else { return }
        let index = object.string("id").flatMap { Int($0) }
        switch (object.string("type"), index) {
        case ("update", _):
            if let change = FollowedChange(object) { portion.changes.append(change) }
            if portion.changes.count >= Self.portionSize { try await keep(&portion) }
        case ("cursor", let index?): portion.cursors[index] = object.string("cursor")
        case ("synced", let index?):
            portion.cursors[index] = object.string("cursor")
            try await keep(&portion)
            synced.insert(index)
            if isComplete { rest = Self.rest }
        case ("position", _):
            try await keep(&portion)
            reached(Revision(object.integer("revision").flatMap { UInt64(exactly: $0) } ?? 0))
        case ("subscribed", _) where object.bool("replace") == true: throw StartAgain()
        case ("error", _): throw StartAgain()
        default: break
        }
    }

    private func keep(_ portion: inout Portion) async throws {
        guard !portion.isEmpty else { return }
        let full = portion
        portion = Portion()
        let began = ContinuousClock.now
        try await store.apply(full)
        // Whoever writes as fast as can be is not to wait for a store that nobody asks.
        if full.changes.count >= Self.portionSize { await pause(for: (.now - began) * Self.idleShare) }
    }

    /// Leaves the machine to others, as long as nobody waits.
    private func pause(for duration: Duration) async {
        let end = ContinuousClock.now + duration
        while ContinuousClock.now < end, waiters.isEmpty, !Task.isCancelled {
            try? await Task.sleep(for: min(Self.slice, end - .now))
        }
    }

    // MARK: Waiting for it

    private func reached(_ revision: Revision) {
        position = max(position, revision)
        for waiter in waiters where waiter.revision <= position { waiter.continuation.resume(returning: true) }
        waiters.removeAll { $0.revision <= position }
        askForPosition()
    }

    /// One question is under way at a time: its answer tells all who wait for no more than that.
    private func askForPosition() {
        guard let next = waiters.map(\.revision).max() else { return }
        connection?.tellPosition(from: next)
    }

    /// Waits until the store has what was committed up to a revision.
    ///
    /// - Parameter patience: for how long at most.
    package func reach(_ revision: Revision, within patience: Duration) async -> Position {
        if position >= revision { return .reached }
        lastWaiter += 1
        let id = lastWaiter
        let timer = Task {
            try? await Task.sleep(for: patience)
            giveUp(id)
        }
        let isReached = await withCheckedContinuation { continuation in
            waiters.append(Waiter(id: id, revision: revision, continuation: continuation))
            connection?.tellPosition(from: revision)
        }
        timer.cancel()
        return isReached ? .reached : .behind(revision.rawValue - min(position, revision).rawValue)
    }

    private func giveUp(_ id: UInt64) {
        guard let index = waiters.firstIndex(where: { $0.id == id }) else { return }
        waiters.remove(at: index).continuation.resume(returning: false)
    }
}
