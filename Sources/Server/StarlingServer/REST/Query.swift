import Hummingbird
import SyncProtocol

/// The parameters of a request's query, each of which is known: a mistyped `ttl` would else be a value that stays for ever.
struct Query {
    private let items: [(name: String, value: String)]

    /// - Throws: ``Problem`` where there is one that is no text.
    init(_ request: Request) throws(Problem) {
        var items: [(name: String, value: String)] = []
        for part in (request.uri.query ?? "").split(separator: "&") {
            let pair = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard let name = Percent.decode(pair[0], plusIsSpace: true),
                let value = Percent.decode(pair.count == 2 ? pair[1] : "", plusIsSpace: true)
            else { throw Problem(.badMessage, "\(part) in the query is not percent-encoded text") }
            items.append((name, value))
        }
        self.items = items
    }

    /// - Throws: ``Problem`` also where there is one that is not in `known`.
    init(_ request: Request, known: Set<String>) throws(Problem) {
        try self.init(request)
        try allow(known)
    }

    /// - Throws: ``Problem`` where there is one that is not in `known`.
    func allow(_ known: Set<String>) throws(Problem) {
        guard let unknown = items.first(where: { !known.contains($0.name) }) else { return }
        let names = known.sorted().joined(separator: ", ")
        throw Problem(
            .badMessage,
            "there is no parameter \(unknown.name) here; there \(names.isEmpty ? "is none" : "are \(names)")")
    }

    /// All values of a parameter, in their order.
    func all(_ name: String) -> [String] { items.filter { $0.name == name }.map(\.value) }

    /// The value of a parameter that stands once at most.
    func one(_ name: String) throws(Problem) -> String? {
        let values = all(name)
        guard values.count <= 1 else { throw Problem(.badMessage, "\(name) stands \(values.count) times in the query") }
        return values.first
    }

    /// A parameter that is a whole number within a range.
    func number(_ name: String, _ range: ClosedRange<UInt64>) throws(Problem) -> UInt64? {
        guard let text = try one(name) else { return nil }
        guard let number = UInt64(text), range.contains(number) else {
            throw Problem(
                .badMessage, "\(name) is \(text); it is a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }
}
