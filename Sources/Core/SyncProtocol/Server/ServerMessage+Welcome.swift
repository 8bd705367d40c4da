package import NIOCore
package import Registers

/// What a server says of itself to each new connection.
package struct Welcome: Sendable {
    package var server: String
    package var node: String
    package var limits: Limits
    package var pingInterval: UInt64

    /// The limits that a client can run into, in bytes where not said otherwise.
    package struct Limits: Sendable {
        package var value: Int
        package var message: Int
        /// Subscriptions per connection.
        package var subscriptions: Int
        /// How far ahead of the server's clock a stamp may be, in milliseconds.
        package var drift: UInt64

        package init(value: Int, message: Int, subscriptions: Int, drift: UInt64) {
            self.value = value
            self.message = message
            self.subscriptions = subscriptions
            self.drift = drift
        }
    }

    package init(server: String, node: String, limits: Limits, pingInterval: UInt64) {
        self.server = server
        self.node = node
        self.limits = limits
        self.pingInterval = pingInterval
    }
}

extension ServerMessage {
    /// `{"type":"welcome",…}`
    ///
    /// - Parameters:
    ///   - cursor: the head of the database.
    ///   - time: the server's wall clock in milliseconds, for the client to tell its own clock's offset by.
    package static func writeWelcome(
        _ welcome: Welcome, id: RequestID?, cursor: Cursor, time: WallTime, agent: Agent, to buffer: inout ByteBuffer
    ) {
        buffer.writeStaticString("{\"type\":\"welcome\"")
        if let id {
            buffer.writeStaticString(",\"id\":")
            buffer.writeBytes(id.json)
        }
        buffer.writeStaticString(",\"server\":")
        buffer.writeJSONString(welcome.server)
        buffer.writeStaticString(",\"node\":")
        buffer.writeJSONString(welcome.node)
        buffer.writeStaticString(",\"epoch\":")
        buffer.writeJSONString(cursor.epoch.bytes)
        buffer.writeStaticString(",\"cursor\":")
        buffer.writeJSONString(cursor.bytes)
        buffer.writeStaticString(",\"agent\":")
        buffer.writeJSONString(agent.bytes)
        buffer.writeStaticString(",\"time\":")
        buffer.writeDecimal(time)
        let limits = welcome.limits
        buffer.writeString(
            ",\"limits\":{\"key\":\(Key.maximumLength),\"pattern\":\(Pattern.maximumLength),\"value\":\(limits.value),"
                + "\"message\":\(limits.message),\"subscriptions\":\(limits.subscriptions),"
                + "\"drift_ms\":\(limits.drift)},\"ping_interval_ms\":\(welcome.pingInterval)}")
    }
}
