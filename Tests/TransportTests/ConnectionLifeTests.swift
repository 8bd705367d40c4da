import Testing
import Transport

struct ConnectionLifeTests {
    /// Inputs in their order, each with what is to be done about it, as text.
    private func run(_ inputs: (String, (inout ConnectionLife) -> Any)...) -> [String] {
        var life = ConnectionLife()
        return inputs.map { name, input in "\(name): \(input(&life))" }
    }

    private func pause(_ reason: ConnectionLife.Pause) -> (inout ConnectionLife) -> Any {
        {
            $0.pause(for: reason)
            return $0.isReading
        }
    }

    private func resume(_ reason: ConnectionLife.Pause) -> (inout ConnectionLife) -> Any { { $0.resume(from: reason) } }

    @Test("It goes on when no reason to wait is left, whichever was the first, and not for one that was none")
    func pauses() {
        let seen = run(
            ("turn", pause(.turn)), ("room", pause(.room)), ("credentials", pause(.credentials)),
            ("their turn is over", resume(.turn)), ("again", resume(.turn)), ("room again", resume(.room)),
            ("checked", resume(.credentials)), ("room again", resume(.room)), ("reads", { $0.isReading }))
        #expect(
            seen == [
                "turn: false", "room: false", "credentials: false", "their turn is over: false", "again: false",
                "room again: false", "checked: true", "room again: false", "reads: true",
            ])
    }

    @Test(
        "The channel gets the bytes that it asked for meanwhile, once, and not before everything is taken that is there"
    )
    func heldReads() {
        let seen = run(
            ("asks", { $0.mayChannelRead() }), ("held", { $0.takeHeldRead() }), ("room", pause(.room)),
            ("asks", { $0.mayChannelRead() }), ("held", { $0.takeHeldRead() }), ("room again", resume(.room)),
            ("turn", pause(.turn)), ("held", { $0.takeHeldRead() }), ("its turn", resume(.turn)),
            ("held", { $0.takeHeldRead() }), ("held", { $0.takeHeldRead() }))
        #expect(
            seen == [
                "asks: true", "held: false", "room: false", "asks: false", "held: false", "room again: true",
                "turn: false", "held: false", "its turn: true", "held: true", "held: false",
            ])
    }

    @Test("Who sends no more is read to the end, now or later, and answered")
    func halfClosed() {
        let later = run(
            ("room", pause(.room)), ("end", { $0.inputEnded() }), ("serves", { $0.isServing }),
            ("room again", resume(.room)), ("all taken", { $0.hasTakenEverything }),
            ("closes", { $0.beginClosing() }), ("closes", { $0.beginClosing() }), ("serves", { $0.isServing }),
            ("finished", { $0.outputEnded() }))
        #expect(
            later == [
                "room: false", "end: wait", "serves: true", "room again: true", "all taken: true", "closes: true",
                "closes: false", "serves: false", "finished: close",
            ])
        #expect(run(("end", { $0.inputEnded() }), ("all", { $0.hasTakenEverything })) == ["end: take", "all: true"])
    }

    @Test("After a Close the client is given time to close its side, and then the channel is closed")
    func closed() {
        let seen = run(
            ("closes", { $0.beginClosing() }), ("goodbye", { $0.saysGoodbye }), ("finished", { $0.outputEnded() }),
            ("end", { $0.inputEnded() }))
        #expect(seen == ["closes: true", "goodbye: false", "finished: linger", "end: close"])
    }

    @Test("A server that stops says so, also to who was about to leave, but not behind the end")
    func stopping() {
        let stops = run(
            ("stops", { $0.beginStopping() }), ("goodbye", { $0.saysGoodbye }), ("stops", { $0.beginStopping() }),
            ("closes", { $0.beginClosing() }))
        #expect(stops == ["stops: true", "goodbye: true", "stops: false", "closes: false"])
        let leaves = run(
            ("closes", { $0.beginClosing() }), ("stops", { $0.beginStopping() }), ("goodbye", { $0.saysGoodbye }))
        #expect(leaves == ["closes: true", "stops: false", "goodbye: true"])
        let gone = run(
            ("gives up", { $0.giveUp() }), ("stops", { $0.beginStopping() }), ("goodbye", { $0.saysGoodbye }),
            ("finished", { $0.outputEnded() }), ("stops", { $0.beginStopping() }))
        #expect(gone == ["gives up: tell", "stops: false", "goodbye: false", "finished: linger", "stops: false"])
    }

    @Test("Who is given up is told why, but not while it is sent what it is owed")
    func givenUp() {
        let seen = run(
            ("gives up", { $0.giveUp() }), ("serves", { $0.isServing }), ("again", { $0.giveUp() }),
            ("closes", { $0.beginClosing() }))
        #expect(seen == ["gives up: tell", "serves: false", "again: cut", "closes: false"])
        let leaves = run(
            ("closes", { $0.beginClosing() }), ("gives up", { $0.giveUp() }), ("finished", { $0.outputEnded() }),
            ("gives up", { $0.giveUp() }))
        #expect(leaves == ["closes: true", "gives up: cut", "finished: linger", "gives up: cut"])
    }
}
