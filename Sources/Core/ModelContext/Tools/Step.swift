package import SyncProtocol

/// What is to be done for a request, bit by bit: what to ask of a connection, and what to make of the answers. Whoever carries it out does all
/// the waiting.
package enum Step: Sendable {
    package typealias Answer = Result<JSONObject, Refusal>

    /// Asks several things at once; what is refused is an answer too.
    case ask([SyncMessage], then: @Sendable ([Answer]) throws(ToolFailure) -> Step)
    /// Asks something that may take long, and of which whoever asked may have enough.
    case wait(SyncMessage, then: @Sendable (JSONObject) throws(ToolFailure) -> Step)
    /// Waits until something that matches a pattern is there, or changes, for so many seconds at most.
    case watch(pattern: String, seconds: UInt64, then: @Sendable () throws(ToolFailure) -> Step)
    /// Looks up so many of the memories that were written last, of those that whoever asks may read: the newest first.
    case newestMemories(Int, then: @Sendable ([(agent: String, key: String)]) throws(ToolFailure) -> Step)
    case done(Outcome)

    /// What came of it.
    package struct Outcome: Sendable {
        /// An object's JSON.
        package var json: [UInt8]
        /// What puts things back where the outcome reaches nobody.
        package var giveBack: SyncMessage?

        init(_ json: [UInt8], giveBack: SyncMessage? = nil) {
            self.json = json
            self.giveBack = giveBack
        }
    }

    /// Asks one thing.
    static func ask(
        _ message: SyncMessage, then: @escaping @Sendable (JSONObject) throws(ToolFailure) -> Step
    ) -> Step {
        .ask([message]) { answers throws(ToolFailure) in try then(answers[0].value) }
    }

    static func done(_ json: [UInt8]) -> Step { .done(Outcome(json)) }
}

extension Step.Answer {
    /// The answer.
    ///
    /// - Throws: ``ToolFailure`` where it is a refusal.
    var value: JSONObject {
        get throws(ToolFailure) {
            switch self {
            case .success(let object): return object
            case .failure(let refusal): throw ToolFailure(refusal)
            }
        }
    }
}

/// A request that is to be carried out.
package struct Plan: Sendable {
    /// The name to write under; nil: the one that the connection has.
    package var agent: String?
    package var step: Step

    package init(as agent: String? = nil, _ step: Step) {
        self.agent = agent
        self.step = step
    }
}
