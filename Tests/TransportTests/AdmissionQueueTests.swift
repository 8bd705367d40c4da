import NIOCore
import NIOEmbedded
import Testing

@testable import Transport

struct AdmissionQueueTests {
    private final class Waiter: AdmissionWaiter {
        let number: Int
        let passed: (Int) -> Void

        init(_ number: Int, passed: @escaping (Int) -> Void) {
            self.number = number
            self.passed = passed
        }

        func admitted() { passed(number) }
    }

    @Test("A turn at a time passes, in the order of their coming, and nobody is forgotten")
    func turns() {
        let loop = EmbeddedEventLoop()
        let admissions = AdmissionQueue(eventLoop: loop)
        var passed: [Int] = []
        for number in 0..<3_000 { admissions.enter(Waiter(number) { passed.append($0) }) }
        #expect(passed == Array(0..<AdmissionQueue.turn))
        loop.advanceTime(by: .microseconds(20))
        #expect(passed == Array(0..<2 * AdmissionQueue.turn))
        loop.advanceTime(by: .seconds(1))
        #expect(passed == Array(0..<3_000))
        // Whoever comes when nobody waits passes at once.
        admissions.enter(Waiter(3_000) { passed.append($0) })
        #expect(passed.last == 3_000)
    }

    @Test("Who comes while others wait goes behind them, who enters by passing too")
    func behind() {
        let loop = EmbeddedEventLoop()
        let admissions = AdmissionQueue(eventLoop: loop)
        var passed: [Int] = []
        let late = Waiter(100) { passed.append($0) }
        for number in 0..<20 {
            admissions.enter(
                Waiter(number) {
                    passed.append($0)
                    if $0 == 9 { admissions.enter(late) }
                })
        }
        loop.advanceTime(by: .seconds(1))
        #expect(passed == Array(0..<20) + [100])
    }
}
