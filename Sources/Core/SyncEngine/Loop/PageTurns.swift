/// Which connections may have a page read. Changes are kept in memory for as long as a page is under way: when thousands catch up at once, they
/// take turns, so that what is kept stays small.
struct PageTurns {
    /// What a connection has to do with it: one page at a time, so that its subscriptions take turns, and memory stays bounded by a page.
    enum Place {
        case none
        /// It waits for its turn.
        case waiting
        /// A page is being read for it.
        case reading
    }

    private let maximum: Int
    private var inFlight = 0
    private var queue = Queue<ConnectionID>()

    /// - Parameter maximum: how many pages may be under way.
    init(maximum: Int) {
        self.maximum = maximum
    }

    /// Whether nobody reads, and nobody waits.
    var isIdle: Bool { inFlight == 0 && queue.isEmpty }

    private var hasRoom: Bool { inFlight < maximum }

    /// A connection wants a page.
    ///
    /// - Parameter isBehindAll: whether it has just had one, and others that wait come first.
    /// - Returns: whether it has its turn now, or else waits for it.
    mutating func request(_ id: ConnectionID, isBehindAll: Bool) -> Bool {
        guard hasRoom, !isBehindAll || queue.isEmpty else {
            queue.append(id)
            return false
        }
        inFlight += 1
        return true
    }

    /// A page was dealt with.
    mutating func finished() {
        inFlight -= 1
        assert(inFlight >= 0, "more pages were read than asked for")
    }

    /// Takes the connection out that comes first, if there is room for its page. It may have gone, or want none by now.
    mutating func next() -> ConnectionID? { hasRoom ? queue.popFirst() : nil }
}
