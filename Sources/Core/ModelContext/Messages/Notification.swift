import Agents
import SyncProtocol

/// Notifications of ours, as whole messages.
package enum Notification {
    private static func message(_ method: String, _ parameters: JSONWriter) -> [UInt8] {
        var message = JSONWriter()
        message.add("jsonrpc", "2.0")
        message.add("method", method)
        message.add("params", raw: parameters.finish())
        return message.finish()
    }

    /// `_meta` of what belongs to a subscription.
    static func metadata(_ subscription: RPCID) -> [UInt8] {
        Array("{\"io.modelcontextprotocol/subscriptionId\":".utf8) + subscription.json + [0x7D]
    }

    static func updated(_ uri: String, _ subscription: RPCID?) -> [UInt8] {
        var parameters = JSONWriter()
        if let subscription { parameters.add("_meta", raw: metadata(subscription)) }
        parameters.add("uri", uri)
        return message("notifications/resources/updated", parameters)
    }

    static func listChanged(_ subscription: RPCID?) -> [UInt8] {
        var parameters = JSONWriter()
        if let subscription { parameters.add("_meta", raw: metadata(subscription)) }
        return message("notifications/resources/list_changed", parameters)
    }

    /// What a subscription was given of what it asked for.
    package static func acknowledged(
        _ subscription: RPCID, uris: [String], tellsOfList: Bool, hasURIs: Bool
    ) -> [UInt8] {
        var honoured = JSONWriter()
        if tellsOfList { honoured.add("resourcesListChanged", true) }
        if hasURIs { honoured.add("resourceSubscriptions", uris.map { Array($0.utf8) }) }
        var parameters = JSONWriter()
        parameters.add("_meta", raw: metadata(subscription))
        parameters.add("notifications", raw: honoured.finish())
        return message("notifications/subscriptions/acknowledged", parameters)
    }

    /// - Parameters:
    ///   - token: the requester's, JSON.
    ///   - seconds: for how long it has been waited.
    package static func progress(_ token: [UInt8], seconds: Int, of total: Int) -> [UInt8] {
        var parameters = JSONWriter()
        parameters.add("progressToken", raw: token)
        parameters.add("progress", number: seconds)
        parameters.add("total", number: total)
        parameters.add("message", "waiting")
        return message("notifications/progress", parameters)
    }
}
