import Synchronization

/// How many requests are being answered: a server that stops waits for that.
final class HTTPActivity: Sendable {
    private let answers = Atomic(0)

    var isIdle: Bool { answers.load(ordering: .relaxed) == 0 }

    func began() { answers.add(1, ordering: .relaxed) }
    func ended() { answers.subtract(1, ordering: .relaxed) }
}
