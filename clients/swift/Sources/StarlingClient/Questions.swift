/// What the client asked and was not answered yet. What was sent does not outlast the connection; what waits for one, or for the writes
/// before it, does for as long as it may.
struct Questions: Sendable {
    /// What is asked, and not sent yet.
    struct Question: Sendable {
        let number: Int
        let type: String
        let bytes: [UInt8]
        /// The sequence of the last write before it: it is sent behind that.
        let behind: Int
        /// When it is given up.
        let deadline: Double
    }

    private var waiting: [Question] = []
    /// What was sent, by its number, with its type.
    private var sent: [Int: String] = [:]
    private(set) var next = 1

    var isEmpty: Bool { waiting.isEmpty && sent.isEmpty }
    var hasWaiting: Bool { !waiting.isEmpty }
    var deadline: Double { waiting.lazy.map(\.deadline).min() ?? .infinity }

    mutating func ask(_ type: String, _ bytes: [UInt8], behind: Int, deadline: Double) -> Int {
        waiting.append(Question(number: next, type: type, bytes: bytes, behind: behind, deadline: deadline))
        defer { next += 1 }
        return next
    }

    /// What may be sent that does not wait for a write with this sequence, or a later one.
    mutating func take(before sequence: Int) -> [Question] {
        let count = waiting.prefix { $0.behind < sequence }.count
        guard count > 0 else { return [] }
        let taken = Array(waiting[..<count])
        waiting.removeFirst(count)
        for question in taken { sent[question.number] = question.type }
        return taken
    }

    /// Whether it was sent, and is not answered.
    func isSent(_ number: Int) -> Bool { sent[number] != nil }

    /// - Returns: whether it was asked, and sent.
    mutating func answered(_ number: Int) -> Bool { sent.removeValue(forKey: number) != nil }

    /// What has waited for too long; it does not any more.
    mutating func takeLate(at now: Double) -> [Question] {
        guard deadline <= now else { return [] }
        let late = waiting.filter { $0.deadline <= now }
        waiting.removeAll { $0.deadline <= now }
        return late
    }

    /// Everything that waits; it does not any more.
    mutating func takeWaiting() -> [Question] {
        defer { waiting = [] }
        return waiting
    }

    /// What was sent on a connection that is gone, in the order it was asked.
    mutating func takeSent() -> [(number: Int, type: String)] {
        defer { sent = [:] }
        return sent.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    }
}

/// The ids of what was sent and is not answered, in that order.
struct AskedIDs: Sendable {
    enum ID: Equatable, Sendable {
        case write(Int)
        case other(String)

        /// As it stands in a message.
        var json: [UInt8] {
            switch self {
            case .write(let id): Array("\(id)".utf8)
            // Ours have nothing that would have to be escaped.
            case .other(let id): Array("\"\(id)\"".utf8)
            }
        }
    }

    private var ids: [ID] = []
    private var head = 0

    var first: ID? { head < ids.count ? ids[head] : nil }

    mutating func sent(_ id: ID) { ids.append(id) }

    mutating func answered(_ id: ID?) {
        guard let id, let first else { return }
        if id == first {
            head += 1
            if head > 1_024, head * 2 > ids.count {
                ids.removeFirst(head)
                head = 0
            }
        } else if let place = ids[head...].firstIndex(of: id) {
            // "overloaded" may overtake others.
            ids.remove(at: place)
        }
    }
}
