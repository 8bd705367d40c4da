import HTTPTypes
import Hummingbird
import NIOCore

/// The protocol over HTTP: each request is one of its messages, on a connection of a shard.
enum RESTRoutes {
    static let prefix = "/v1/"

    /// What there is, as protocol/openapi.json describes it. Where a path ends in a key, the rest of the path is one.
    static let table: [(path: String, methods: [HTTPRequest.Method])] = [
        ("/v1/keys", [.get, .put, .patch, .delete]), ("/v1/keys/{key}", [.get, .put, .patch, .delete]),
        ("/v1/claims", [.post, .patch, .delete]), ("/v1/claims/{key}", [.post, .patch, .delete]),
        ("/v1/events", [.get]),
    ]

    /// What a path may be asked for; nil: there is no such path.
    static func methods(for path: String) -> [HTTPRequest.Method]? {
        table.first { entry in
            guard entry.path.hasSuffix("{key}") else { return path == entry.path }
            let start = entry.path.dropLast(5)
            return path.hasPrefix(start) && path.count > start.count
        }?.methods
    }

    static func add(to router: Router<HTTPContext>) {
        KeyRoutes.add(to: router)
        ClaimRoutes.add(to: router)
        EventRoutes.add(to: router)
        let document = ByteBuffer(bytes: PackageResources.openapi_json)
        router.get("/openapi.json") { _, _ in
            Response(
                status: .ok, headers: [.contentType: "application/json"], body: ResponseBody(byteBuffer: document))
        }
    }
}
