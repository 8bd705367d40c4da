/// A radix trie from byte strings to values, which finds all entries that are a prefix of a key in one walk over it.
struct PrefixTrie<Value: Equatable & Sendable>: Sendable {
    private struct Node: Sendable {
        /// The bytes between the parent and this node.
        var label: [UInt8]
        var values: [Value] = []
        var children: [Int32] = []
        /// The first byte of each child's label, in the order of `children`.
        var firstBytes: [UInt8] = []
    }

    private static var root: Int32 { 0 }

    private var nodes: [Node] = [Node(label: [])]
    private var free: [Int32] = []

    /// Adds `value` at `prefix`.
    mutating func insert(_ value: Value, at prefix: [UInt8]) {
        var index = Self.root
        var offset = 0
        while offset < prefix.count {
            guard let place = nodes[Int(index)].firstBytes.firstIndex(of: prefix[offset]) else {
                index = makeChild(of: index, label: Array(prefix[offset...]))
                break
            }
            let child = nodes[Int(index)].children[place]
            let label = nodes[Int(child)].label
            var common = 0
            while common < label.count, offset + common < prefix.count, label[common] == prefix[offset + common] {
                common += 1
            }
            offset += common
            index = common == label.count ? child : split(child, under: index, place: place, at: common)
        }
        nodes[Int(index)].values.append(value)
    }

    /// Removes `value` from `prefix`, and the nodes that nothing is left under.
    mutating func remove(_ value: Value, at prefix: [UInt8]) {
        var path = [Self.root]
        var offset = 0
        while offset < prefix.count {
            guard let index = path.last, let child = child(of: index, for: prefix[offset]) else { return }
            offset += nodes[Int(child)].label.count
            path.append(child)
        }
        guard let index = path.last, let place = nodes[Int(index)].values.firstIndex(of: value) else { return }
        nodes[Int(index)].values.remove(at: place)
        prune(path)
    }

    /// Calls `body` with every value whose prefix starts `key`.
    func forEachPrefix(of key: [UInt8], _ body: (Value) -> Void) {
        var index = Self.root
        var offset = 0
        while true {
            for value in nodes[Int(index)].values { body(value) }
            guard offset < key.count, let child = child(of: index, for: key[offset]) else { return }
            let label = nodes[Int(child)].label
            guard key.count - offset >= label.count else { return }
            for place in label.indices where key[offset + place] != label[place] { return }
            offset += label.count
            index = child
        }
    }

    private func child(of index: Int32, for byte: UInt8) -> Int32? {
        let node = nodes[Int(index)]
        return node.firstBytes.firstIndex(of: byte).map { node.children[$0] }
    }

    private mutating func makeNode(_ node: Node) -> Int32 {
        if let index = free.popLast() {
            nodes[Int(index)] = node
            return index
        }
        nodes.append(node)
        return Int32(nodes.count - 1)
    }

    private mutating func makeChild(of parent: Int32, label: [UInt8]) -> Int32 {
        let child = makeNode(Node(label: label))
        nodes[Int(parent)].children.append(child)
        nodes[Int(parent)].firstBytes.append(label[0])
        return child
    }

    /// Puts a node in the middle of the edge to `child`, behind `length` bytes of its label.
    private mutating func split(_ child: Int32, under parent: Int32, place: Int, at length: Int) -> Int32 {
        let label = nodes[Int(child)].label
        let middle = makeNode(Node(label: Array(label[..<length]), children: [child], firstBytes: [label[length]]))
        nodes[Int(child)].label = Array(label[length...])
        nodes[Int(parent)].children[place] = middle
        return middle
    }

    private mutating func prune(_ path: [Int32]) {
        for depth in stride(from: path.count - 1, to: 0, by: -1) {
            let index = path[depth]
            guard nodes[Int(index)].values.isEmpty, nodes[Int(index)].children.isEmpty else { return }
            let parent = path[depth - 1]
            if let place = nodes[Int(parent)].children.firstIndex(of: index) {
                nodes[Int(parent)].children.remove(at: place)
                nodes[Int(parent)].firstBytes.remove(at: place)
            }
            nodes[Int(index)] = Node(label: [])
            free.append(index)
        }
    }
}
