import NIOCore

extension InProcessTransport {
    typealias AnswerResult = Result<ByteBuffer, ConnectionEnd>

    /// Who waits for an answer.
    enum Answer {
        case one(CheckedContinuation<AnswerResult, Never>)
        /// The answer at a place among several.
        case part(Answers, at: Int)

        func resume(returning result: AnswerResult) {
            switch self {
            case .one(let continuation): continuation.resume(returning: result)
            case .part(let answers, let place): answers.note(result, at: place)
            }
        }
    }

    /// The answers to questions that were asked together. It belongs to the event loop.
    final class Answers {
        private var results: [AnswerResult?]
        private var missing: Int
        private let continuation: CheckedContinuation<[AnswerResult], Never>

        init(count: Int, _ continuation: CheckedContinuation<[AnswerResult], Never>) {
            results = Array(repeating: nil, count: count)
            missing = count
            self.continuation = continuation
        }

        func note(_ result: AnswerResult, at place: Int) {
            guard results[place] == nil else { return }
            results[place] = result
            missing -= 1
            if missing == 0 { continuation.resume(returning: results.compactMap { $0 }) }
        }
    }
}
