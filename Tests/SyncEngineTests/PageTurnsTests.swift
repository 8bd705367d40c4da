import Testing

@testable import SyncEngine

struct PageTurnsTests {
    private var turns = PageTurns(maximum: 2)

    private mutating func request(_ slot: Int32, isBehindAll: Bool = false) -> Bool {
        turns.request(ConnectionID(slot: slot, generation: 1), isBehindAll: isBehindAll)
    }

    private mutating func next() -> Int32? { turns.next()?.slot }

    @Test("Only so many pages are under way, and who waits has a turn in the order of asking")
    mutating func turnsInOrder() {
        #expect(request(0) == true)
        #expect(request(1) == true)
        #expect(request(2) == false)
        #expect(request(3) == false)
        #expect(next() == nil)
        turns.finished()
        // Who has just had a page comes behind all who wait.
        #expect(request(0, isBehindAll: true) == false)
        #expect(next() == 2)
        #expect(request(2) == true)
        #expect(next() == nil)
        #expect(!turns.isIdle)
        turns.finished()
        turns.finished()
        #expect(next() == 3)
        #expect(next() == 0)
        #expect(next() == nil)
        #expect(turns.isIdle)
    }
}
