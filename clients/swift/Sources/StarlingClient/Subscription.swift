import Registers

/// What ``StarlingClient/subscribe(_:snapshot:echo:)`` gives: a sequence of updates, and the part of the replica that they make.
public struct Subscription: AsyncSequence, Sendable {
    /// What it is a sequence of.
    public typealias Element = Update

    /// Goes through the updates as they come.
    public struct Iterator: AsyncIteratorProtocol {
        let delivery: Delivery

        /// The next update; nil at the end, and when the task is cancelled.
        ///
        /// - Throws: ``StarlingError``: what the server has against the subscription.
        public mutating func next() async throws -> Update? { try await delivery.next() }
    }

    let id: Int
    let client: StarlingClient
    let delivery: Delivery
    let whenSynced: Promise<Void>

    /// Goes through the updates. Two iterators share them: each update goes to one.
    public func makeAsyncIterator() -> Iterator { Iterator(delivery: delivery) }

    /// Waits until everything that there was at the beginning has come.
    ///
    /// - Throws: ``StarlingError``: what the server has against the subscription; `closed`.
    public func synced() async throws { try await whenSynced.value }

    /// All that matches, by key.
    public func list() -> [Update] {
        client.core.perform { state in
            let serverNow = state.engine.serverTime
            return state.engine.subscriptions[id]?.replica.list(at: serverNow).map { Update($0) } ?? []
        }
    }

    /// Ends it: when this returns, no callback runs any more, and none will. (From within the callback it does not wait for that.)
    public func unsubscribe() async {
        client.core.perform { $0.engine.unsubscribe(id) }
        if StarlingClient.callback != id { await delivery.callsFinished() }
    }
}
