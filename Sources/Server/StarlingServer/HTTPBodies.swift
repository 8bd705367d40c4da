import Loops
import NIOHTTP1

/// What is held of the bodies of requests.
struct HTTPBodies: Sendable {
    /// What a body may be where no route wants one: it is counted, and let go.
    private static let maximumUnwanted = 64 << 10

    /// What all connections hold of what is not whole yet.
    let memory: InboundMemory
    /// The greatest size of one, in bytes.
    let maximumSize: Int
    /// Whether there are access rules. Who asks is found out once a request is whole.
    let hasRules: Bool

    /// What one connection holds.
    var held: HeldMemory { HeldMemory(memory, of: hasRules ? .stranger : .known) }

    /// Whether a route wants the body of a request.
    func isHeld(of head: HTTPRequestHead) -> Bool { head.uri.hasPrefix(RESTRoutes.prefix) }

    func maximumSize(of head: HTTPRequestHead) -> Int { isHeld(of: head) ? maximumSize : Self.maximumUnwanted }
}
