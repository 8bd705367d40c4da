import Access
import Registers
import SyncProtocol
import Testing

@testable import SyncEngine

struct MessageOrderTests {
    private var order = MessageOrder()
    private let limits = MessageOrder.Limits(messages: 4, cost: 10_000)

    private func write(_ key: String, bytes: Int = 1) throws -> Incoming {
        .message(.write(.init(key: try Key(key), value: Array(repeating: 0x31, count: bytes))))
    }

    private func get(_ key: String) throws -> Incoming { .message(.get(id: nil, key: try Key(key))) }

    private let ping = Incoming.message(.ping(id: nil))
    private let credentials: Incoming

    init() throws {
        let message = try ClientMessageDecoder(maximumValueSize: 1).decode(Array(#"{"type":"hello"}"#.utf8).span)
        guard case .hello(let hello) = message else { preconditionFailure("it is a hello") }
        credentials = .credentials(hello, .failure(.busy))
    }

    private func mayRun(_ incoming: Incoming, isBackedUp: Bool = false, isSettled: Bool = true) -> Bool {
        order.mayRunNow(incoming, isBackedUp: isBackedUp, isSettled: isSettled, isServed: false)
    }

    private mutating func next(isBackedUp: Bool = false, isSettled: Bool = true) -> String {
        switch order.next(isBackedUp: isBackedUp, isSettled: isSettled, isServed: false) {
        case .run(.message(.write))?: "write"
        case .run(.message)?: "message"
        case .run(.credentials)?: "credentials"
        case .run(.close)?: "close"
        case .run(.invalid)?: "invalid"
        case .run(.replicate)?: "replicate"
        case .read(let lookups)?: "read \(lookups.count)"
        case nil: "wait"
        }
    }

    @Test("Writes overtake no lookup, lookups no write, and nothing what waits before it")
    mutating func overtaking() throws {
        #expect(try mayRun(write("a")))
        order.writeBegan(cost: 300)
        #expect(try mayRun(write("b")))
        #expect(try !mayRun(get("a")))
        #expect(!mayRun(ping))
        order.enqueue(try get("a"))
        order.enqueue(try get("b"))
        order.enqueue(try write("c"))
        #expect(try !mayRun(write("d")))
        #expect(next() == "wait")
        order.writeAnswered(cost: 300)
        #expect(next() == "read 2")
        #expect(next() == "wait")
        #expect(order.lookupsRead(answered: 2, isBackedUp: false) == nil)
        #expect(next() == "write")
        #expect(order.isIdle)
    }

    @Test("Lookups that did not fit go on when the socket has taken the others, and everything behind them waits")
    mutating func backedUp() throws {
        #expect(try !mayRun(write("a"), isBackedUp: true))
        order.enqueue(try get("a"))
        order.enqueue(try get("b"))
        order.enqueue(ping)
        #expect(next(isBackedUp: true) == "wait")
        #expect(next() == "read 2")
        #expect(order.lookupsRead(answered: 1, isBackedUp: true) == nil)
        #expect(next() == "wait")
        let rest = order.socketDrained()
        #expect(rest?.count == 1)
        #expect(order.socketDrained() == nil)
        let left0 = order.lookupsRead(answered: 0, isBackedUp: false)
        #expect(left0?.count == 1)
        #expect(order.lookupsRead(answered: 1, isBackedUp: false) == nil)
        #expect(next() == "message")
    }

    @Test("The end waits for all answers and snapshots; nothing is taken behind it")
    mutating func end() throws {
        order.writeBegan(cost: 300)
        order.close()
        #expect(order.isClosed && !mayRun(.close))
        order.enqueue(.close)
        order.writeAnswered(cost: 300)
        #expect(next(isSettled: false) == "wait")
        #expect(next() == "close")
    }

    @Test("A connection is read from no further while it has too much under way or waiting, or credentials that wait")
    mutating func saturated() throws {
        for _ in 0..<3 { order.writeBegan(cost: 300) }
        #expect(!order.isSaturated(limits))
        order.enqueue(ping)
        #expect(order.isSaturated(limits))
        order.writeAnswered(cost: 300)
        #expect(!order.isSaturated(limits))
        order.enqueue(try write("a", bytes: 10_000))
        #expect(order.isSaturated(limits))
        order.writeAnswered(cost: 300)
        order.writeAnswered(cost: 300)
        #expect(next() == "message")
        #expect(next() == "write")
        #expect(!order.isSaturated(limits))

        order.writeBegan(cost: 300)
        order.enqueue(credentials)
        #expect(order.isSaturated(limits))
        order.writeAnswered(cost: 300)
        #expect(next() == "credentials")
        #expect(order.isSaturated(limits))
        order.credentialsRan()
        #expect(!order.isSaturated(limits))
    }

    @Test("Credentials that have their turn after the end open nothing again")
    mutating func closedForGood() {
        order.writeBegan(cost: 300)
        order.enqueue(credentials)
        order.close()
        order.credentialsRan()
        #expect(order.isClosed)
    }
}
