import Registers

/// When the committer does what nobody has asked for: it looks whether its files are there, probes a disk that has failed, forgets
/// old tombstones, and cleans the log of revisions where nobody writes.
struct UpkeepSchedule {
    typealias Instant = ContinuousClock.Instant

    private enum Disk {
        case works
        case fails(nextProbe: Instant)
    }

    /// How long to wait until a disk that has failed is probed again.
    private static let probePause = Duration.seconds(1)
    /// How long to wait until it is looked again whether the files are still there, where nobody writes.
    private static let lookPause = Duration.seconds(1)

    /// How long nobody is to have written until the log is cleaned.
    private static let quiet = Duration.milliseconds(100)

    /// How long tombstones are kept, in milliseconds.
    let retention: UInt64
    private var disk: Disk
    private var nextCollection: Instant
    private var nextLook: Instant
    private var nextCleaning: Instant

    /// - Parameter hasFailed: whether the disk has refused something before it began.
    init(retention: UInt64, hasFailed: Bool, now: Instant) {
        self.retention = retention
        disk = hasFailed ? .fails(nextProbe: now) : .works
        nextCollection = now + .seconds(1)
        nextLook = now + Self.lookPause
        nextCleaning = now + Self.quiet
    }

    /// Somebody has written.
    mutating func noteRequests(_ now: Instant) { nextCleaning = now + Self.quiet }

    /// Whether nobody has written for a while, and the disk takes what is.
    func isCleaningDue(_ now: Instant) -> Bool {
        if case .fails = disk { return false }
        return nextCleaning <= now
    }

    /// The disk has taken something, or refused it.
    mutating func noteCommit(hasFailed: Bool, now: Instant) {
        switch disk {
        case .works: if hasFailed { disk = .fails(nextProbe: now) }
        case .fails: if !hasFailed { disk = .works }
        }
    }

    func isProbeDue(_ now: Instant) -> Bool {
        guard case .fails(let next) = disk else { return false }
        return next <= now
    }

    /// The disk was probed.
    mutating func probed(hasFailed: Bool, now: Instant) {
        disk = hasFailed ? .fails(nextProbe: now + Self.probePause) : .works
    }

    /// Whether to look at the files; asked once for each time.
    mutating func takeLook(_ now: Instant) -> Bool {
        guard nextLook <= now else { return false }
        nextLook = now + Self.lookPause
        return true
    }

    func isCollectionDue(_ now: Instant) -> Bool { nextCollection <= now }

    /// Tombstones were forgotten, so many. The rest of many follows at once; else a look now and then is enough.
    mutating func collected(_ count: Int, now: Instant) {
        nextCollection = now + .milliseconds(count > 0 ? 0 : min(60_000, max(1_000, retention / 4)))
    }

    /// How long to wait for requests, in milliseconds.
    ///
    /// - Parameters:
    ///   - expiry: when the next register expires, by the wall clock, in milliseconds; nil: none does.
    ///   - wallClock: what that shows now.
    ///   - hasStale: whether there is something to be cleaned.
    func pause(until expiry: WallTime?, wallClock: WallTime, now: Instant, hasStale: Bool = false) -> UInt64 {
        if let expiry, expiry <= wallClock { return 0 }
        // The wall clock may be set meanwhile, and the expiry be nearer than it seems: a look is never far.
        var due = min(nextCollection, nextLook)
        switch disk {
        case .fails(let next): due = min(due, next)
        case .works: if hasStale { due = min(due, nextCleaning) }
        }
        let left = max(.zero, now.duration(to: due))
        let milliseconds = UInt64((left + .nanoseconds(999_999)) / .milliseconds(1))
        return min(milliseconds, expiry.map { $0 - wallClock } ?? .max)
    }
}
