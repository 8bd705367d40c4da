import Access
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
    let routes: RouteTable
    /// Says who brings good credentials; nil: there are no access rules, and everybody is known.
    let authority: (any Authority)?

    /// What one connection holds.
    var held: HeldMemory { HeldMemory(memory, of: authority == nil ? .known : .stranger) }

    /// Finds out whether a request's credentials are good, before its body comes.
    func meet(_ head: HTTPRequestHead, _ known: @escaping @Sendable () -> Void) {
        guard let authority, isHeld(of: head), let value = head.headers.first(name: "authorization"),
            let credential = Credential(authorization: value)
        else { return }
        authority.check(credential) { result in if case .success(let grant) = result, !grant.isNothing { known() } }
    }

    /// Whether a route wants the body of a request.
    func isHeld(of head: HTTPRequestHead) -> Bool { routes.takesBody(head.uri) }

    func maximumSize(of head: HTTPRequestHead) -> Int {
        isHeld(of: head) ? routes.route(of: head.uri)?.maximumBody ?? maximumSize : Self.maximumUnwanted
    }

    /// What is answered to a request whose body cannot be taken; nil: an error.
    func fallback(of head: HTTPRequestHead) -> Route.Fallback? {
        head.method == .POST ? routes.route(of: head.uri)?.fallback : nil
    }
}
