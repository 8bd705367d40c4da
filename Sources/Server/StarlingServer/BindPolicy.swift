import NIOCore
import Transport

/// Where a server may listen. Without access rules everybody who reaches it can read and write everything.
enum BindPolicy {
    /// - Throws: ``ServerError`` when other machines could reach `host`, and that was not asked for in so many words.
    static func check(_ host: String, port: Int, isOpenAllowed: Bool) throws(ServerError) {
        let address: SocketAddress
        do {
            address = try SocketAddress.makeAddressResolvingHost(host, port: port)
        } catch {
            throw ServerError("cannot resolve --host \(host): \(error)")
        }
        if isOpenAllowed || isLoopback(address) { return }
        throw ServerError(
            """
            --host \(host) can be reached from other machines, and this server has no access rules: whoever reaches it \
            can read and write everything. Listen on 127.0.0.1, give access rules (--access; 'starling token create' makes \
            them), or say --insecure-open if that is what you want.
            """)
    }

    /// Whether only this machine can reach a server that listens on `host`.
    static func isLoopback(_ host: String) -> Bool {
        (try? SocketAddress.makeAddressResolvingHost(host, port: 0)).map(isLoopback) ?? false
    }

    static func isLoopback(_ address: SocketAddress) -> Bool {
        // What is no address of a network is a file of this machine.
        IPAddress(address)?.isLoopback ?? true
    }
}
