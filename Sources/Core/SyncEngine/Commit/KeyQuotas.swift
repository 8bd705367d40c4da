import Access
import Registers

/// How many keys there are in each scope that a grant limits the number of. A scope is counted in the database when it is
/// first asked for, and kept up from then on.
struct KeyQuotas {
    /// How many scopes are kept up; from then on they are counted anew.
    private static let capacity = 10_000

    private var index = PatternIndex()
    private var ids: [Scope: PatternID] = [:]
    private var counts: [PatternID: Int] = [:]

    /// Whether nothing is kept up: most servers limit nobody.
    var isEmpty: Bool { ids.isEmpty }

    /// The number of keys in `scope`, as of the last commit.
    ///
    /// - Parameter load: counts them in the database.
    mutating func count(
        in scope: Scope, load: (Filter) throws(StoreError) -> Int
    ) throws(StoreError) -> Int {
        if let id = ids[scope], let count = counts[id] { return count }
        if ids.count >= Self.capacity { removeAll() }
        let filter = Filter(.everything, within: scope)
        let count = try load(filter)
        let id = index.retain(filter)
        ids[scope] = id
        counts[id] = count
        return count
    }

    /// A key has come, or gone.
    mutating func note(_ key: Key, by difference: Int) {
        guard difference != 0 else { return }
        var scopes: [PatternID] = []
        index.findMatches(of: key, into: &scopes)
        for id in scopes { counts[id]? += difference }
    }

    /// Forgets everything: what is in the database has to be asked again.
    mutating func removeAll() {
        self = KeyQuotas()
    }
}
