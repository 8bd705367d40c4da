import NIOCore
import Registers
import SyncEngine
package import SyncProtocol

/// Why a connection within the process is over.
package struct ConnectionEnd: Error, Equatable, Sendable {
    /// As in `bye`; nil where nobody said: its owner closed it, or it could not be made.
    package var code: ErrorCode?
    package var reason: String
    /// Whether what was asked may have been carried out.
    package var wasSent = true

    package init(code: ErrorCode? = nil, reason: String) {
        self.code = code
        self.reason = reason
    }
}

/// The loop's side of an ``InProcessConnection``: what it is sent waits here until somebody takes it, and what can be done without is
/// dropped meanwhile, as for a socket. It belongs to the event loop.
final class InProcessTransport: ConnectionTransport {
    typealias Taker = CheckedContinuation<Taken, Never>

    /// What somebody gets who takes what there is.
    enum Taken: Sendable {
        /// Messages, each by itself, in their order.
        case messages([ByteBuffer])
        /// Nothing came for as long as was to be waited.
        case silence
        case end(ConnectionEnd)
    }

    private enum State {
        case open
        /// No more is sent by its owner; what came before is being answered.
        case closing
        /// Nothing more comes. It is over once what waits was taken.
        case draining(ConnectionEnd)
        case ended(ConnectionEnd)
    }

    /// What waits to be taken.
    private struct Waiting {
        enum Content {
            case message(ByteBuffer)
            /// As they are for everybody, and taken apart by whoever takes them: most are shared, and some are dropped.
            case frames(ByteBuffer)
        }

        var content: Content
        /// In bytes of the memory that it holds on to.
        var cost: Int
        /// Set where it can be done without.
        var delivery: Delivery?
    }

    private struct Inbound {
        enum Content {
            case message(ByteBuffer)
            case registers([Register])
        }

        var content: Content
        var number: UInt64?
    }

    /// How much is given out at once, in bytes: what was taken cannot be dropped any more.
    private static let portion = 64 << 10
    private static let positionDelay = TimeAmount.milliseconds(1)

    private(set) var id = ConnectionID(slot: 0, generation: 0)
    private(set) var backlog = 0
    let hasFailed = false
    private let driver: LoopDriver
    /// Whether there is somebody who takes what was not asked for.
    private let isTaken: Bool
    private var state = State.open
    private var waiting = CircularBuffer<Waiting>()
    /// What its owner sends, and the shard is too busy for.
    private var inbound = CircularBuffer<Inbound>()
    private var asked: [UInt64: Answer] = [:]
    private var taker: Taker?
    private var silence: Scheduled<Void>?
    /// What ``tellPosition(from:)`` waits for.
    private var wantedPosition: Revision?
    /// When something was taken last, or began to wait.
    private var lastTaken = NIODeadline.now()

    init(_ driver: LoopDriver, isTaken: Bool) {
        self.driver = driver
        self.isTaken = isTaken
    }

    func connected(as id: ConnectionID) { self.id = id }

    // MARK: From its owner

    /// Asks something; the answer is the message that carries the number.
    func ask(_ request: SyncMessage, number: UInt64, _ answer: Answer) {
        ask(.message(request.message(number: number)), number: number, answer)
    }

    /// Asks several things, whose answers come together.
    func ask(_ requests: [SyncMessage], numbers: [UInt64], _ continuation: CheckedContinuation<[AnswerResult], Never>) {
        guard !requests.isEmpty else { return continuation.resume(returning: []) }
        let answers = Answers(count: requests.count, continuation)
        for (place, (request, number)) in zip(requests, numbers).enumerated() {
            expect(.message(request.message(number: number)), number: number, .part(answers, at: place))
        }
        takeInbound()
    }

    /// Has registers merged as they are; the answer is the message that carries the number.
    func replicate(_ registers: [Register], number: UInt64, _ answer: Answer) {
        ask(.registers(registers), number: number, answer)
    }

    private func ask(_ content: Inbound.Content, number: UInt64, _ answer: Answer) {
        expect(content, number: number, answer)
        takeInbound()
    }

    /// Notes a question, and who waits for its answer.
    private func expect(_ content: Inbound.Content, number: UInt64, _ answer: Answer) {
        guard case .open = state else {
            var end = end
            end.wasSent = false
            return answer.resume(returning: .failure(end))
        }
        asked[number] = answer
        inbound.append(Inbound(content: content, number: number))
    }

    /// Sends something whose answer is taken with everything else.
    func send(_ request: SyncMessage) {
        guard case .open = state else { return }
        inbound.append(Inbound(content: .message(request.message(number: nil)), number: nil))
        takeInbound()
    }

    /// What came together is read together.
    private func takeInbound() {
        guard !inbound.isEmpty else { return }
        readMessages()
        driver.run()
    }

    /// Nobody waits for an answer any more.
    func forget(_ number: UInt64) {
        guard let answer = asked.removeValue(forKey: number) else { return }
        inbound.removeAll { $0.number == number }
        answer.resume(returning: .failure(ConnectionEnd(reason: "nobody waits for it any more")))
    }

    /// Takes what there is, or waits for it.
    func take(within patience: TimeAmount, _ taker: Taker) {
        if let taken = takeNow() {
            taker.resume(returning: taken)
            switch state {
            // The shard may have waited for this.
            case .open, .closing: if waiting.isEmpty { driver.drained(id) }
            case .draining(let end): if waiting.isEmpty { self.end(end) }
            case .ended: break
            }
            return
        }
        assert(self.taker == nil, "one at a time takes what comes")
        self.taker = taker
        silence = driver.eventLoop.assumeIsolated().scheduleTask(in: patience) { [self] in give(.silence) }
    }

    /// Whoever waits for something does not any more.
    func stopTaking() { give(.silence) }

    private func give(_ taken: Taken) {
        silence?.cancel()
        silence = nil
        let taker = taker
        self.taker = nil
        taker?.resume(returning: taken)
    }

    private func takeNow() -> Taken? {
        var messages: [ByteBuffer] = []
        var size = 0
        while let next = waiting.first, size < Self.portion {
            waiting.removeFirst()
            backlog -= next.cost
            size += next.cost
            switch next.content {
            case .message(let message): messages.append(message)
            case .frames(let frames): messages += driver.services.unframe(frames)
            }
        }
        lastTaken = .now()
        if !messages.isEmpty { return .messages(messages) }
        if case .ended(let end) = state { return .end(end) }
        return nil
    }

    /// Looks whether it has been handed everything up to a commit, until it has: that is at once, but for a commit that is on its way from another
    /// event loop, and while it catches up.
    func tellPosition(from least: Revision) {
        guard case .open = state else { return }
        wantedPosition = least
        lookForPosition()
    }

    private func lookForPosition() {
        guard let least = wantedPosition, case .open = state else { return }
        guard let position = driver.position(of: id), position >= least else {
            let delay = Self.positionDelay
            driver.eventLoop.assumeIsolated().scheduleTask(in: delay) { [self] in
                if wantedPosition == least { lookForPosition() }
            }
            return
        }
        wantedPosition = nil
        wait(for: .message(ByteBuffer(string: #"{"type":"position","revision":\#(position.rawValue)}"#)))
    }

    /// Ends it, as if a client had gone.
    func close() { end(ConnectionEnd(reason: "it was closed")) }

    // MARK: From the shard

    func send(_ frames: ByteBuffer) {
        let messages = driver.services.unframe(frames).map { (message: $0, addressee: ServerMessage.addressee(of: $0)) }
        // A page of a snapshot is thousands of messages, in one buffer.
        if messages.allSatisfy({ $0.addressee == .everybody }) { return wait(for: .frames(frames.unshared)) }
        for (message, addressee) in messages {
            switch addressee {
            case .asker(let number): asked.removeValue(forKey: number)?.resume(returning: .success(message))
            case .everybody: wait(for: .message(message.unshared))
            case .nobody: break
            }
        }
    }

    func send(_ delivery: Delivery) { wait(for: .frames(delivery.frames.unshared), delivery) }

    private func wait(for content: Waiting.Content, _ delivery: Delivery? = nil) {
        guard isTaken else { return }
        switch state {
        case .open, .closing: break
        case .draining, .ended: return
        }
        let cost =
            switch content {
            case .message(let bytes), .frames(let bytes): bytes.cost
            }
        if waiting.isEmpty { lastTaken = .now() }
        waiting.append(Waiting(content: content, cost: cost, delivery: delivery))
        backlog += cost
        if taker != nil, let taken = takeNow() { give(taken) }
    }

    func drop() -> [Delivery] {
        let dropped = waiting.compactMap(\.delivery)
        waiting.removeAll { $0.delivery != nil }
        backlog = waiting.reduce(0) { $0 + $1.cost }
        return dropped
    }

    func readMessages() {
        while let next = inbound.first {
            guard case .open = state, driver.requestRead(id, backlog: backlog) else { return }
            inbound.removeFirst()
            let requestID = next.number.map { RequestID(json: Array("\($0)".utf8)) }
            switch (next.content, requestID) {
            case (.message(let message), _): receive(message, requestID)
            case (.registers(let registers), let requestID?): driver.receive(.replicate(registers, requestID), from: id)
            case (.registers, nil): preconditionFailure("registers are asked to be merged under a number")
            }
        }
    }

    private func receive(_ message: ByteBuffer, _ requestID: RequestID?) {
        do throws(WireError) {
            let decoded = try driver.decoder.decode(message.readableBytesUInt8Span)
            driver.receive(.message(decoded), size: message.readableBytes, from: id)
        } catch {
            var error = error
            // What cannot be read as far as its id is answered all the same.
            if error.id == nil { error.id = requestID }
            driver.receive(.invalid(error), size: message.readableBytes, from: id)
        }
    }

    func resume() { readMessages() }

    func heldBytes(of party: InboundMemory.Party) -> Int { 0 }
    func stopReading() { inbound.removeAll() }

    func check(at now: NIODeadline) -> Liveness {
        backlog > 0 && now - lastTaken > driver.limits.stallTimeout ? .stalled : .alive
    }

    // MARK: The end

    private var end: ConnectionEnd {
        switch state {
        case .open, .closing: ConnectionEnd(reason: "it is closing")
        case .draining(let end), .ended(let end): end
        }
    }

    /// The server is stopping: it ends as if its owner had asked, and is told why.
    func shutDown() {
        guard case .open = state else { return }
        state = .closing
        driver.receive(.close, from: id)
        driver.run()
    }

    /// Everything is answered.
    func finish() {
        let end = ConnectionEnd(code: .shuttingDown, reason: "the server is stopping")
        sendBye(.shuttingDown, end.reason)
        refuseAsked(end)
        state = .draining(end)
        if waiting.isEmpty { self.end(end) }
    }

    func giveUp(_ code: ErrorCode, _ reason: String) {
        switch state {
        case .open, .closing: break
        case .draining, .ended: return abort()
        }
        let end = ConnectionEnd(code: code, reason: reason)
        discard()
        sendBye(code, reason)
        refuseAsked(end)
        // What it holds ends at once, whoever takes the message that says why.
        state = .ended(end)
        if waiting.isEmpty { give(.end(end)) }
        driver.abandon(id)
    }

    private func sendBye(_ code: ErrorCode, _ reason: String) {
        var message = ByteBuffer()
        ServerMessage.writeBye(
            code: code.rawValue, reason: reason, retryAfter: code.mayRetry ? 1_000 : nil, to: &message)
        wait(for: .message(message))
    }

    func abort() { end(ConnectionEnd(reason: "it was ended")) }

    private func end(_ end: ConnectionEnd) {
        discard()
        if case .ended = state { return }
        state = .ended(end)
        refuseAsked(end)
        give(.end(end))
        driver.disconnect(id)
    }

    private func discard() {
        waiting.removeAll()
        backlog = 0
        inbound.removeAll()
    }

    private func refuseAsked(_ end: ConnectionEnd) {
        let refused = asked
        asked = [:]
        for answer in refused.values { answer.resume(returning: .failure(end)) }
    }
}
