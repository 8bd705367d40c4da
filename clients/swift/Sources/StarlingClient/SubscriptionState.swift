import Registers
import SyncProtocol

/// One subscription, as the engine knows it.
struct SubscriptionState: Sendable {
    let id: Int
    let pattern: Pattern
    let snapshot: Bool
    let echo: Bool
    var replica = Replica()
    /// Where to go on from after a break.
    var cursor: String?
    /// Whether everything that there was when it began has come.
    var isSynced = false
    /// Whether what is held is too old to go on from.
    var mustReplace = false
    /// When to ask again, after the server refused for the time being.
    var retryAt = Double.infinity

    init(id: Int, pattern: Pattern, snapshot: Bool, echo: Bool) {
        self.id = id
        self.pattern = pattern
        self.snapshot = snapshot
        self.echo = echo
    }

    var wireID: String { "s\(id)" }

    /// What to send, to begin or to go on.
    var request: [UInt8] {
        var message = Message("subscribe")
        message.add("id", wireID)
        message.add("pattern", String(decoding: pattern.text, as: UTF8.self))
        message.add("cursors", true)
        message.add("since", cursor)
        // Own writes are kept from the subscriber here: the replica needs them.
        message.add("snapshot", snapshot || mustReplace ? nil : false)
        return message.bytes
    }

    mutating func subscribed(_ message: JSONObject) {
        retryAt = .infinity
        // Without a cursor to go on from, what comes is everything there is.
        replica.begin(replace: message.bool("replace") == true || mustReplace || (cursor == nil && snapshot))
    }

    /// The server cannot tell what has changed since: everything is to be sent again, and takes the place of what is held.
    mutating func startAnew() {
        disconnected()
        cursor = nil
        mustReplace = true
    }

    /// The connection is gone; what is held stays, and so does the cursor.
    mutating func disconnected() {
        isSynced = false
        retryAt = .infinity
    }
}
