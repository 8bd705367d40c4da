import SyncEngine

/// The answers that are kept for requests that come again.
final class AnswerStatements {
    private let select: Statement
    private let insert: Statement
    private let prune: Statement

    /// How many answers are forgotten with each that is kept: more than come, so that they become fewer, and no write waits for long.
    private static let portion = 4

    init(on handle: OpaquePointer) throws(StoreError) {
        select = try Statement(
            "SELECT answer FROM answer WHERE op = ?1 AND bearer = ?2 AND answered_at >= ?3", on: handle)
        // The row of an answer that is replaced goes, so that the ids are in the order of time.
        insert = try Statement(
            "INSERT OR REPLACE INTO answer (op, bearer, answered_at, answer) VALUES (?1, ?2, ?3, ?4)", on: handle)
        prune = try Statement(
            """
            DELETE FROM answer WHERE id IN (SELECT id FROM answer ORDER BY id LIMIT \(Self.portion)) \
            AND (answered_at < ?1 OR id <= (SELECT max(id) FROM answer) - \(KeptAnswer.maximumCount))
            """, on: handle)
    }

    func answer(to operation: Operation, since: UInt64) throws(StoreError) -> [UInt8]? {
        defer { select.reset() }
        select.bind(operation.op, at: 1)
        select.bind(operation.bearer, at: 2)
        select.bind(Int64(clamping: since), at: 3)
        return try select.step() ? select.bytes(0) : nil
    }

    func put(_ answer: KeptAnswer) throws(StoreError) {
        insert.bind(answer.operation.op, at: 1)
        insert.bind(answer.operation.bearer, at: 2)
        insert.bind(Int64(clamping: answer.answeredAt), at: 3)
        insert.bind(answer.text, at: 4)
        try insert.run()
        let end = answer.answeredAt > KeptAnswer.lifetime ? answer.answeredAt - KeptAnswer.lifetime : 0
        prune.bind(Int64(clamping: end), at: 1)
        try prune.run()
    }
}
