/// Elements in their order. What comes last is taken in no time; anything else moves what is behind it, which is little memory.
struct SortedList<Element: Comparable & Sendable>: Sendable {
    private(set) var elements: [Element] = []

    var isEmpty: Bool { elements.isEmpty }
    var count: Int { elements.count }
    var last: Element? { elements.last }

    /// The index of the first element that is not less than `element`.
    private func place(of element: Element) -> Int {
        var range = 0..<elements.count
        while !range.isEmpty {
            let middle = range.lowerBound + range.count / 2
            if elements[middle] < element {
                range = middle + 1..<range.upperBound
            } else {
                range = range.lowerBound..<middle
            }
        }
        return range.lowerBound
    }

    mutating func insert(_ element: Element) { elements.insert(element, at: place(of: element)) }

    mutating func remove(_ element: Element) {
        let index = place(of: element)
        precondition(index < elements.count && elements[index] == element, "what is removed is there")
        elements.remove(at: index)
    }
}
