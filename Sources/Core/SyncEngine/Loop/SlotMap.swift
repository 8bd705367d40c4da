/// Elements that are found by small numbers, their slots. A slot that was left is given out again, so whoever may come late with one has to
/// say which of its elements was meant: by a generation, or by having counted.
struct SlotMap<Element> {
    private var elements: [Element?] = []
    private var free: [Int32] = []

    var count: Int { elements.count - free.count }
    /// The elements, in the order of their slots.
    var values: some Sequence<Element> { elements.lazy.compactMap { $0 } }
    /// Their slots, in order.
    var slots: some Sequence<Int32> { elements.indices.lazy.filter { elements[$0] != nil }.map(Int32.init) }

    /// Puts an element where there is room.
    ///
    /// - Parameter make: makes the element, which may have to know its slot.
    mutating func insert(_ make: (_ slot: Int32) -> Element) -> Int32 {
        if let slot = free.popLast() {
            assert(elements[Int(slot)] == nil, "slot \(slot) is free")
            elements[Int(slot)] = make(slot)
            return slot
        }
        let slot = Int32(elements.count)
        elements.append(make(slot))
        return slot
    }

    mutating func insert(_ element: Element) -> Int32 { insert { _ in element } }

    mutating func remove(_ slot: Int32) {
        precondition(elements[Int(slot)] != nil, "slot \(slot) is left twice")
        elements[Int(slot)] = nil
        free.append(slot)
    }

    /// The element in a slot that is taken.
    subscript(slot: Int32) -> Element {
        get {
            guard let element = elements[Int(slot)] else { preconditionFailure("nothing is in slot \(slot)") }
            return element
        }
        _modify {
            precondition(elements[Int(slot)] != nil, "nothing is in slot \(slot)")
            yield &elements[Int(slot)]!
        }
    }

    /// What is in a slot by now, if anything is.
    func find(_ slot: Int32) -> Element? {
        Int(slot) < elements.count ? elements[Int(slot)] : nil
    }
}

extension SlotMap: Sendable where Element: Sendable {}
