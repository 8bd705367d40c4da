import Registers
import SyncProtocol

/// What client and server let each other know beside what is asked for: names, the time, and versions that ours are to
/// be above.
extension Engine {
    mutating func adjustOffset(_ serverTime: Double?) {
        if let serverTime { offset = serverTime - options.wall() }
    }

    /// Our clock turned out to be wrong: back to what servers have sent.
    mutating func adjustClock(_ serverTime: Int64) {
        adjustOffset(Double(serverTime))
        if Double(clock.last.milliseconds) > Double(serverTime) + drift { clock = HybridLogicalClock(last: received) }
    }

    /// Takes note of a version, so that what we write next is above it; but not of one that the server would refuse.
    mutating func learn(_ version: Version) {
        guard Double(version.stamp.milliseconds) <= serverNow + drift else { return }
        clock.receive(version.stamp)
        received = max(received, version.stamp)
    }

    mutating func learn(from answer: JSONObject) {
        let registers = (answer.array("registers") ?? []).compactMap { try? JSONObject($0) }
        let failed = (answer.array("failed") ?? []).map { (try? JSONObject($0))?.object("current") }
        for known in [answer, answer.object("winner"), answer.object("current")] + registers + failed {
            if let version = known?.string("version").flatMap({ try? Version($0) }) { learn(version) }
        }
    }

    mutating func remember(_ answer: JSONObject) {
        let versions = (answer.array("versions") ?? []).compactMap(JSONObject.string)
        for text in versions + [answer.string("version")].compactMap(\.self) {
            guard let version = try? Version(text) else { continue }
            learn(version)
            remember(version)
        }
    }

    private mutating func remember(_ version: Version) {
        if ownVersions.insert(version).inserted { ownVersionsInOrder.append(version) }
        if ownVersionsInOrder.count > Self.ownVersionsKept {
            for old in ownVersionsInOrder.prefix(Self.ownVersionsKept / 2) { ownVersions.remove(old) }
            ownVersionsInOrder.removeFirst(Self.ownVersionsKept / 2)
        }
    }

    mutating func hello(_ agent: String?) {
        var hello = Message("hello")
        hello.add("id", "hello")
        hello.add("agent", agent)
        hello.add("session", options.session)
        hello.add("token", token)
        send(hello.bytes, as: "hello")
    }

    mutating func unwelcome(_ message: JSONObject) {
        let error = StarlingError(message)
        // The credentials say who we are, and a name that nobody chose is no reason to disagree.
        if error.code == "forbidden", options.agent == nil, !isNameless {
            isNameless = true
            return hello(nil)
        }
        if message.bool("retry") == true {
            lastError = StarlingError("offline", "\(error)")
            verdicts[edge] = nil
            return leave(retryAfter: Double(message.integer("retry_after_ms") ?? 0))
        }
        giveUpOn(error)
        leave(retryAfter: options.refusedDelay)
    }
}
