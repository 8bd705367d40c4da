/// What a connection does: whether bytes are taken from it, and how far it is with its end. A state machine without I/O or time: its
/// inputs are its methods, and what is to be done about them is what they return.
package struct ConnectionLife: Equatable, Sendable {
    /// Why nothing is taken from a connection for now. It goes on when no reason is left.
    package struct Pause: OptionSet, Sendable {
        package let rawValue: UInt8

        package init(rawValue: UInt8) { self.rawValue = rawValue }

        /// The shard has much of it under way, or it has much to take itself: the driver says when that has changed.
        package static let room = Pause(rawValue: 1)
        /// Credentials are being checked, and what comes behind them is judged by them.
        package static let credentials = Pause(rawValue: 2)
        /// Others have their turn.
        package static let turn = Pause(rawValue: 4)
    }

    /// The client's sending side.
    private enum Input {
        case open
        /// It sends no more. What it sent before may still be there to be taken.
        case ended
    }

    private enum Stage {
        case serving
        /// No more takes effect; what came before is being answered.
        case closing
        /// Likewise, because the server is stopping.
        case stopping
        /// It is told why it ends, and owed nothing.
        case givenUp
        /// The sending side is closed: the client has to close its own.
        case finished
    }

    private var pause: Pause = []
    /// Whether the channel has asked for bytes, and was not let.
    private var isReadHeld = false
    private var input = Input.open
    private var stage = Stage.serving

    package init() {}

    // MARK: What comes in

    /// Whether bytes are taken.
    package var isReading: Bool { pause.isEmpty }

    /// Whether what it sends takes effect.
    package var isServing: Bool { stage == .serving }

    /// Takes nothing for now.
    package mutating func pause(for reason: Pause) { pause.insert(reason) }

    /// A reason is gone.
    ///
    /// - Returns: whether that was the last one, and bytes are to be taken again.
    package mutating func resume(from reason: Pause) -> Bool {
        guard pause.contains(reason) else { return false }
        pause.remove(reason)
        return pause.isEmpty
    }

    /// The channel asks for bytes.
    ///
    /// - Returns: whether it may have them; else it gets them when ``takeHeldRead()`` says so.
    package mutating func mayChannelRead() -> Bool {
        if isReading { return true }
        isReadHeld = true
        return false
    }

    /// What was there has been taken.
    ///
    /// - Returns: whether the channel is to be given the bytes that it asked for meanwhile.
    package mutating func takeHeldRead() -> Bool {
        guard isReading, isReadHeld else { return false }
        isReadHeld = false
        return true
    }

    package enum InputEnd: Equatable {
        /// What is there is to be taken, up to the end.
        case take
        /// It will be when the connection is read from again.
        case wait
        /// Nothing is owed any more: the channel is to be closed.
        case close
    }

    /// The client has closed its sending side.
    package mutating func inputEnded() -> InputEnd {
        input = .ended
        if stage == .finished { return .close }
        return isReading ? .take : .wait
    }

    /// There is no whole message left.
    ///
    /// - Returns: whether there never will be, and the connection is to be closed.
    package var hasTakenEverything: Bool { input == .ended }

    // MARK: The end

    /// The connection is to end once it is answered.
    ///
    /// - Returns: whether that is news.
    package mutating func beginClosing() -> Bool {
        guard stage == .serving else { return false }
        stage = .closing
        return true
    }

    /// The server is stopping.
    ///
    /// - Returns: whether the connection was not about to end before.
    package mutating func beginStopping() -> Bool {
        switch stage {
        case .serving:
            stage = .stopping
            return true
        case .closing:
            stage = .stopping
            return false
        case .stopping, .givenUp, .finished: return false
        }
    }

    package enum GivingUp: Equatable {
        /// It is told why.
        case tell
        /// It was about to end, and was given time for what it was owed: that is over.
        case cut
    }

    /// The connection is to end without what it is owed.
    package mutating func giveUp() -> GivingUp {
        guard stage == .serving else { return .cut }
        stage = .givenUp
        return .tell
    }

    /// Whether it is told, behind all answers, that the server is stopping.
    package var saysGoodbye: Bool { stage == .stopping }

    package enum Finish: Equatable {
        /// The client has closed its side before: the channel is to be closed.
        case close
        /// It is given time to.
        case linger
    }

    /// The sending side is closed.
    package mutating func outputEnded() -> Finish {
        assert(stage != .serving, "nobody has asked for the end")
        stage = .finished
        return input == .ended ? .close : .linger
    }
}
