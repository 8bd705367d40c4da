import Registers

/// A radix trie of patterns, which finds those that a key matches, and those that it might match, in one walk over the
/// key: what that costs depends on the key and on how many are found, not on how many there are.
struct PatternTrie: Sendable {
    /// A pattern at its node.
    fileprivate struct Occupant: Sendable {
        let id: PatternID
        /// Whether it is found by every key whose way leads through the node, and not just by those that end there.
        let isOpen: Bool
        /// Whether those keys match it, and need not be tested.
        let isCertain: Bool
    }

    fileprivate struct Node: Sendable {
        var parent: Int32
        /// The bytes between the parent and this node; none behind a wildcard.
        var label: [UInt8]
        var patterns: [Occupant] = []
        /// The nodes behind literals, and the first byte of each one's label.
        var children: [Int32] = []
        var firstBytes: [UInt8] = []
        /// The node behind a wildcard for the rest of the segment; 0, which is the root, where there is none.
        var restOfSegment: Int32 = 0

        var isNeeded: Bool { !patterns.isEmpty || !children.isEmpty || restOfSegment != 0 }
    }

    private static var root: Int32 { 0 }

    private var nodes = [Node(parent: 0, label: [])]
    private var free: [Int32] = []

    /// The number of nodes.
    var count: Int { nodes.count - free.count }

    // MARK: Finding

    /// Adds the patterns that `key` matches to `found`, and those that it may match to `candidates`.
    func find(_ key: Span<UInt8>, found: inout [PatternID], candidates: inout [PatternID]) {
        key.withUnsafeBufferPointer { key in
            nodes.withUnsafeBufferPointer { nodes in
                Self.walk(nodes, key, from: Self.root, at: 0, &found, &candidates)
            }
        }
    }

    private static func walk(
        _ nodes: UnsafeBufferPointer<Node>, _ key: UnsafeBufferPointer<UInt8>, from start: Int32, at offset: Int,
        _ found: inout [PatternID], _ candidates: inout [PatternID]
    ) {
        var index = Int(start)
        var offset = offset
        while true {
            for pattern in nodes[index].patterns {
                guard pattern.isOpen || offset == key.count else { continue }
                if pattern.isCertain { found.append(pattern.id) } else { candidates.append(pattern.id) }
            }
            if nodes[index].restOfSegment != 0 {
                var end = offset
                while end < key.count, key[end] != Key.separator { end += 1 }
                // At most as deep as a pattern may have wildcards.
                walk(nodes, key, from: nodes[index].restOfSegment, at: end, &found, &candidates)
            }
            guard offset < key.count, let child = child(of: index, in: nodes, for: key[offset]),
                nodes[child].matches(key, at: offset)
            else { return }
            offset += nodes[child].label.count
            index = child
        }
    }

    private static func child(of index: Int, in nodes: UnsafeBufferPointer<Node>, for byte: UInt8) -> Int? {
        guard let place = nodes[index].firstBytes.firstIndex(of: byte) else { return nil }
        return Int(nodes[index].children[place])
    }

    // MARK: Changing

    /// Adds a pattern.
    mutating func insert(_ id: PatternID, isOpen: Bool, isCertain: Bool, at path: [Pattern.Path.Step]) {
        var index = Self.root
        for step in path {
            switch step {
            case .literal(let bytes): index = makeWay(from: index, bytes)
            case .restOfSegment:
                if nodes[Int(index)].restOfSegment == 0 {
                    nodes[Int(index)].restOfSegment = makeNode(Node(parent: index, label: []))
                }
                index = nodes[Int(index)].restOfSegment
            }
        }
        nodes[Int(index)].patterns.append(Occupant(id: id, isOpen: isOpen, isCertain: isCertain))
    }

    /// Removes what ``insert(_:isOpen:isCertain:at:)`` has added, and the nodes that nothing is left under.
    mutating func remove(_ id: PatternID, at path: [Pattern.Path.Step]) {
        var index = Self.root
        for step in path {
            guard let next = next(from: index, by: step) else { return }
            index = next
        }
        guard let place = nodes[Int(index)].patterns.firstIndex(where: { $0.id == id }) else { return }
        nodes[Int(index)].patterns.swapAt(place, nodes[Int(index)].patterns.count - 1)
        nodes[Int(index)].patterns.removeLast()
        prune(index)
    }

    private func next(from start: Int32, by step: Pattern.Path.Step) -> Int32? {
        guard case .literal(let bytes) = step else {
            let child = nodes[Int(start)].restOfSegment
            return child == 0 ? nil : child
        }
        var index = start
        var offset = 0
        while offset < bytes.count {
            guard let place = nodes[Int(index)].firstBytes.firstIndex(of: bytes[offset]) else { return nil }
            index = nodes[Int(index)].children[place]
            offset += nodes[Int(index)].label.count
        }
        return index
    }

    /// The node `bytes` behind another; made where there is none.
    private mutating func makeWay(from start: Int32, _ bytes: [UInt8]) -> Int32 {
        var index = start
        var offset = 0
        while offset < bytes.count {
            guard let place = nodes[Int(index)].firstBytes.firstIndex(of: bytes[offset]) else {
                let child = makeNode(Node(parent: index, label: Array(bytes[offset...])))
                nodes[Int(index)].children.append(child)
                nodes[Int(index)].firstBytes.append(bytes[offset])
                return child
            }
            let child = nodes[Int(index)].children[place]
            let label = nodes[Int(child)].label
            var common = 0
            while common < label.count, offset + common < bytes.count, label[common] == bytes[offset + common] {
                common += 1
            }
            offset += common
            index = common == label.count ? child : split(child, place: place, at: common)
        }
        return index
    }

    /// Puts a node in the middle of the edge to `child`, behind `length` bytes of its label.
    private mutating func split(_ child: Int32, place: Int, at length: Int) -> Int32 {
        let parent = nodes[Int(child)].parent
        let label = nodes[Int(child)].label
        var node = Node(parent: parent, label: Array(label[..<length]))
        node.children = [child]
        node.firstBytes = [label[length]]
        let middle = makeNode(node)
        nodes[Int(child)].label = Array(label[length...])
        nodes[Int(child)].parent = middle
        nodes[Int(parent)].children[place] = middle
        return middle
    }

    private mutating func makeNode(_ node: Node) -> Int32 {
        if let index = free.popLast() {
            nodes[Int(index)] = node
            return index
        }
        nodes.append(node)
        return Int32(nodes.count - 1)
    }

    private mutating func prune(_ start: Int32) {
        var index = start
        while index != Self.root, !nodes[Int(index)].isNeeded {
            let parent = nodes[Int(index)].parent
            if nodes[Int(parent)].restOfSegment == index {
                nodes[Int(parent)].restOfSegment = 0
            } else if let place = nodes[Int(parent)].children.firstIndex(of: index) {
                nodes[Int(parent)].children.remove(at: place)
                nodes[Int(parent)].firstBytes.remove(at: place)
            }
            nodes[Int(index)] = Node(parent: 0, label: [])
            free.append(index)
            index = parent
        }
    }
}

extension PatternTrie.Node {
    /// Whether `key` has the label at `offset`.
    fileprivate func matches(_ key: UnsafeBufferPointer<UInt8>, at offset: Int) -> Bool {
        guard key.count - offset >= label.count else { return false }
        // The first byte is what the node was found by.
        for place in label.indices.dropFirst() where key[offset + place] != label[place] { return false }
        return true
    }
}
