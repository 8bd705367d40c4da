import NIOCore
import NIOEmbedded
import Testing

@testable import Transport

struct TurnstileTests {
    private final class Door: TurnTaker {
        let number: Int
        let passed: (Int) -> Void

        init(_ number: Int, passed: @escaping (Int) -> Void) {
            self.number = number
            self.passed = passed
        }

        func pass() { passed(number) }
    }

    @Test("A turn at a time passes, in the order of their coming, and nobody is forgotten")
    func turns() {
        let loop = EmbeddedEventLoop()
        let turnstile = Turnstile(eventLoop: loop)
        var passed: [Int] = []
        for number in 0..<3_000 { turnstile.enter(Door(number) { passed.append($0) }) }
        #expect(passed == Array(0..<Turnstile.turn))
        loop.advanceTime(by: .microseconds(20))
        #expect(passed == Array(0..<2 * Turnstile.turn))
        loop.advanceTime(by: .seconds(1))
        #expect(passed == Array(0..<3_000))
        // Whoever comes when nobody waits passes at once.
        turnstile.enter(Door(3_000) { passed.append($0) })
        #expect(passed.last == 3_000)
    }

    @Test("Who comes while others wait goes behind them, who enters by passing too")
    func behind() {
        let loop = EmbeddedEventLoop()
        let turnstile = Turnstile(eventLoop: loop)
        var passed: [Int] = []
        let late = Door(100) { passed.append($0) }
        for number in 0..<20 {
            turnstile.enter(
                Door(number) {
                    passed.append($0)
                    if $0 == 9 { turnstile.enter(late) }
                })
        }
        loop.advanceTime(by: .seconds(1))
        #expect(passed == Array(0..<20) + [100])
    }
}
