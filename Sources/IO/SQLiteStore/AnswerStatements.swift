import Crypto
import Foundation
import SyncEngine

/// The answers that are kept for requests that come again. Of bearers, only a hash is: their names are nobody's business.
final class AnswerStatements {
    private let select: Statement
    private let insert: Statement
    private let pruneBearer: Statement
    private let prune: Statement
    private let seal: RowSeal?

    /// How many answers are forgotten with each that is kept: more than come, so that they become fewer, and no write waits for long.
    private static let portion = 4
    /// How many are forgotten at a time when nobody wants anything.
    private static let largePortion = 4_096

    init(on handle: OpaquePointer, seal: RowSeal?) throws(StoreError) {
        self.seal = seal
        select = try Statement(
            "SELECT answer, key_id, answered_at FROM answer WHERE bearer = ?1 AND op = ?2 AND answered_at >= ?3",
            on: handle)
        // The row of an answer that is replaced goes, so that ids and numbers are in the order of time.
        insert = try Statement(
            """
            INSERT OR REPLACE INTO answer (bearer, number, op, answered_at, answer, key_id) \
            SELECT ?1, coalesce(max(number), 0) + 1, ?2, ?3, ?4, ?5 FROM answer WHERE bearer = ?1
            """, on: handle)
        pruneBearer = try Statement(
            """
            DELETE FROM answer WHERE bearer = ?1 AND number <= \
            (SELECT max(number) FROM answer WHERE bearer = ?1) - \(KeptAnswer.maximumCountOfBearer)
            """, on: handle)
        prune = try Statement(
            """
            DELETE FROM answer WHERE id IN (SELECT id FROM answer ORDER BY id LIMIT ?2) \
            AND (answered_at < ?1 OR id <= (SELECT max(id) FROM answer) - \(KeptAnswer.maximumCount))
            """, on: handle)
    }

    func answer(to operation: OperationID, since: UInt64) throws(StoreError) -> [UInt8]? {
        defer { select.reset() }
        let bearer = Self.hash(operation.bearer)
        select.bind(blob: bearer, at: 1)
        select.bind(operation.op, at: 2)
        select.bind(Int64(clamping: since), at: 3)
        guard try select.step(), let bytes = select.blob(0) else { return nil }
        guard let seal else { return bytes }
        let answer = SealedAnswer(
            bearer: bearer, op: operation.op, answeredAt: select.integer(2),
            keyID: select.bytes(1).map { String(decoding: $0, as: UTF8.self) })
        return try seal.open(answer, bytes)
    }

    func put(_ answer: KeptAnswer) throws(StoreError) {
        let bearer = Self.hash(answer.operation.bearer)
        var kept = SealedAnswer(
            bearer: bearer, op: answer.operation.op, answeredAt: Int64(clamping: answer.answeredAt), keyID: nil)
        let bytes = try seal?.seal(&kept, answer.text) ?? answer.text
        insert.bind(blob: bearer, at: 1)
        insert.bind(answer.operation.op, at: 2)
        insert.bind(kept.answeredAt, at: 3)
        insert.bind(blob: bytes, at: 4)
        insert.bind(kept.keyID.map { Array($0.utf8) }, at: 5)
        try insert.run()
        pruneBearer.bind(blob: bearer, at: 1)
        try pruneBearer.run()
        try forget(at: answer.answeredAt, limit: Self.portion)
    }

    /// Forgets answers whose time is over.
    func collect(now: UInt64) throws(StoreError) { try forget(at: now, limit: Self.largePortion) }

    private func forget(at now: UInt64, limit: Int) throws(StoreError) {
        prune.bind(Int64(clamping: now > KeptAnswer.lifetime ? now - KeptAnswer.lifetime : 0), at: 1)
        prune.bind(Int64(limit), at: 2)
        try prune.run()
    }

    private static func hash(_ bearer: [UInt8]) -> [UInt8] { Array(SHA256.hash(data: bearer).prefix(16)) }
}

/// All that a kept answer's row says beside the answer: what is authenticated with it.
struct SealedAnswer {
    var bearer: [UInt8]
    var op: [UInt8]
    var answeredAt: Int64
    /// Of the encryption key; nil: it is not encrypted.
    var keyID: String?
}
