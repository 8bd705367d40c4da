import Registers

/// What was read at a head that has not been delivered to the event loop yet: it is newer than what other subscriptions of its connection have got. Its
/// time comes with that commit.
struct HeldResults<Result> {
    private var results: [(head: Revision, result: Result)] = []

    var isEmpty: Bool { results.isEmpty }

    mutating func hold(_ result: Result, until head: Revision) { results.append((head, result)) }

    /// Takes those out whose time has come, in the order in which they came.
    mutating func take(upTo delivered: Revision) -> [Result] {
        guard results.contains(where: { $0.head <= delivered }) else { return [] }
        defer { results.removeAll { $0.head <= delivered } }
        return results.filter { $0.head <= delivered }.map(\.result)
    }
}
