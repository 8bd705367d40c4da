/// A dictionary for what there is most often one of: a single entry needs no memory of its own.
package struct SmallDictionary<Key: Hashable, Value> {
    private enum Content {
        case none
        case one(Key, Value)
        case many([Key: Value])
    }

    private var content = Content.none

    package var count: Int {
        switch content {
        case .none: 0
        case .one: 1
        case .many(let entries): entries.count
        }
    }

    package var isEmpty: Bool { count == 0 }

    /// In no particular order.
    package var values: [Value] {
        switch content {
        case .none: []
        case .one(_, let value): [value]
        case .many(let entries): Array(entries.values)
        }
    }

    package init() {}

    package subscript(key: Key) -> Value? {
        get {
            switch content {
            case .none: nil
            case .one(let only, let value): only == key ? value : nil
            case .many(let entries): entries[key]
            }
        }
        set {
            switch (content, newValue) {
            case (.none, let value?): content = .one(key, value)
            case (.one(let only, _), let value?) where only == key: content = .one(key, value)
            case (.one(let only, let other), let value?): content = .many([only: other, key: value])
            case (.one(let only, _), nil) where only == key: content = .none
            case (.many(var entries), let value):
                // Not two of the same, or it would be copied.
                content = .none
                entries[key] = value
                content = entries.isEmpty ? .none : .many(entries)
            case (.none, nil), (.one, nil): break
            }
        }
    }
}
