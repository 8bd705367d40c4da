import Crypto
import Foundation
import Registers
import SyncEngine

/// The answers that are kept for requests that come again. Of bearers, only a hash is: their names are nobody's business.
final class AnswerStatements {
    private let select: Statement
    private let insert: Statement
    private let pruneBearer: Statement
    private let prune: Statement
    private let pruneOldest: Statement
    private let selectCount: Statement
    private let selectOthers: Statement
    private let update: Statement
    private let delete: Statement
    private let seal: RowSeal?
    /// How many there are at most: counted when that is too many. nil: not counted yet.
    private var bound: Int?

    /// How many answers are forgotten with each that is kept: more than come, so that they become fewer, and no write waits for long.
    private static let portion = 4
    /// How many are forgotten at a time when nobody wants anything.
    private static let largePortion = 4_096

    init(on handle: OpaquePointer, seal: RowSeal?) throws(StoreError) {
        self.seal = seal
        select = try Statement(SQL.select, on: handle)
        insert = try Statement(SQL.insert, on: handle)
        pruneBearer = try Statement(SQL.pruneBearer, on: handle)
        prune = try Statement(SQL.prune, on: handle)
        pruneOldest = try Statement(SQL.pruneOldest, on: handle)
        selectCount = try Statement("SELECT count(*) FROM answer", on: handle)
        selectOthers = try Statement(SQL.selectOthers, on: handle)
        update = try Statement("UPDATE answer SET answer = ?1, key_id = ?2 WHERE id = ?3", on: handle)
        delete = try Statement("DELETE FROM answer WHERE id = ?1", on: handle)
    }

    private enum SQL {
        static let select =
            "SELECT answer, key_id, answered_at FROM answer WHERE bearer = ?1 AND op = ?2 AND answered_at >= ?3"
        // The row of an answer that is replaced goes, so that ids and numbers are in the order of time.
        static let insert = """
            INSERT OR REPLACE INTO answer (bearer, number, op, answered_at, answer, key_id) \
            SELECT ?1, coalesce(max(number), 0) + 1, ?2, ?3, ?4, ?5 FROM answer WHERE bearer = ?1
            """
        static let pruneBearer = """
            DELETE FROM answer WHERE bearer = ?1 AND number <= \
            (SELECT max(number) FROM answer WHERE bearer = ?1) - \(KeptAnswer.maximumCountOfBearer)
            """
        // What is of a time to come is of a clock that was set back.
        static let prune = """
            DELETE FROM answer WHERE id IN (SELECT id FROM answer ORDER BY id LIMIT ?3) \
            AND (answered_at < ?1 OR answered_at > ?2)
            """
        static let pruneOldest = "DELETE FROM answer WHERE id IN (SELECT id FROM answer ORDER BY id LIMIT ?1)"
        static let selectOthers =
            "SELECT id, bearer, op, answered_at, answer, key_id FROM answer WHERE key_id IS NOT ?1 LIMIT ?2"
    }

    func answer(to operation: OperationID, since: WallTime) throws(StoreError) -> [UInt8]? {
        defer { select.reset() }
        let bearer = Self.hash(operation.bearer)
        select.bind(blob: bearer, at: 1)
        select.bind(operation.op, at: 2)
        select.bind(since, at: 3)
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
            bearer: bearer, op: answer.operation.op, answeredAt: Int64(clamping: answer.answeredAt.milliseconds),
            keyID: nil)
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
        try forgetOldest()
    }

    /// Keeps to as many as there may be. No bearer has so many that the others lose theirs by it.
    private func forgetOldest() throws(StoreError) {
        if let bound, bound < KeptAnswer.maximumCount {
            self.bound = bound + 1
            return
        }
        defer { selectCount.reset() }
        let count = try selectCount.step() ? Int(selectCount.integer(0)) : 0
        bound = count
        guard count > KeptAnswer.maximumCount else { return }
        pruneOldest.bind(Int64(count - KeptAnswer.maximumCount + Self.portion), at: 1)
        try pruneOldest.run()
        bound = KeptAnswer.maximumCount - Self.portion
    }

    /// Answers that are not sealed with the current key, with their texts; nil: they do not open.
    private func others(
        than seal: RowSeal, limit: Int
    ) throws(StoreError) -> [(id: Int64, answer: SealedAnswer, text: [UInt8]?)] {
        defer { selectOthers.reset() }
        selectOthers.bind(Array(seal.cipher.currentID.utf8), at: 1)
        selectOthers.bind(Int64(limit), at: 2)
        var answers: [(id: Int64, answer: SealedAnswer, text: [UInt8]?)] = []
        while try selectOthers.step() {
            let answer = SealedAnswer(
                bearer: selectOthers.blob(1) ?? [], op: selectOthers.bytes(2) ?? [],
                answeredAt: selectOthers.integer(3),
                keyID: selectOthers.bytes(5).map { String(decoding: $0, as: UTF8.self) })
            answers.append((selectOthers.integer(0), answer, try? seal.open(answer, selectOthers.blob(4) ?? [])))
        }
        return answers
    }

    /// Seals answers with the current key that are not, and forgets those that nobody can open.
    ///
    /// - Returns: how many were looked at; 0: there are no more.
    func reseal(limit: Int) throws(StoreError) -> Int {
        guard let seal else { return 0 }
        let answers = try others(than: seal, limit: limit)
        for (id, answer, text) in answers {
            guard let text else {
                delete.bind(id, at: 1)
                try delete.run()
                continue
            }
            var answer = answer
            update.bind(blob: try seal.seal(&answer, text), at: 1)
            update.bind(answer.keyID.map { Array($0.utf8) }, at: 2)
            update.bind(id, at: 3)
            try update.run()
        }
        return answers.count
    }

    /// Forgets answers whose time is over.
    func collect(now: WallTime) throws(StoreError) { try forget(at: now, limit: Self.largePortion) }

    private func forget(at now: WallTime, limit: Int) throws(StoreError) {
        prune.bind(now - KeptAnswer.lifetime, at: 1)
        prune.bind(now + KeptAnswer.lifetime, at: 2)
        prune.bind(Int64(limit), at: 3)
        try prune.run()
    }

    private static func hash(_ bearer: [UInt8]) -> [UInt8] { Array(SHA256.hash(data: bearer).prefix(16)) }
}
