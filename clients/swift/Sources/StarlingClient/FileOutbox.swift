import Foundation
import Synchronization

/// An outbox in a file: a line that says so, then a line of JSON for each write (`{"put":…}`) and for each final answer
/// (`{"done":<version>}`). A write is in the file before `broadcast` returns, so that it survives the process; with `fsync`, the machine
/// too. One client at a time: a lock on `<path>.lock` sees to that.
///
/// What it throws, where the file is none of its own, is in use or cannot be written, is ``StarlingError`` `outbox_failed`.
public final class FileOutbox: OutboxStore {
    private struct Line: Codable {
        var put: WriteRecord?
        var done: String?
        var starling: String?
        var format: Int?

        /// What the file begins with.
        static let header = Line(starling: "outbox", format: 1)

        var isHeader: Bool { starling == Self.header.starling }
    }

    private struct State {
        var file: OutboxFile?
        var lock: FileLock?
        var records: [String: WriteRecord] = [:]
        var lines = 0
    }

    private let url: URL
    private let fsync: Bool
    private let state = Mutex(State())

    /// An outbox in a file, which need not be there yet.
    ///
    /// - Parameter fsync: whether each write is on the disk before `broadcast` returns.
    public init(_ path: String, fsync: Bool = false) {
        url = URL(filePath: path).resolvingSymlinksInPath()
        self.fsync = fsync
    }

    /// Reads the file, and begins it anew with what still waits.
    public func load() throws -> [WriteRecord] {
        try state.withLock { state in
            try OutboxFile.check(url.path)
            state.lock = try FileLock(beside: url.path)
            do {
                try open(&state)
            } catch {
                state.lock = nil
                throw error as? StarlingError
                    ?? StarlingError("outbox_failed", "the outbox \(url.path) cannot be used: \(error)")
            }
            return Array(state.records.values)
        }
    }

    /// Takes over what is there, and leaves a file to append to.
    private func open(_ state: inout State) throws {
        state.records = [:]
        state.lines = 0
        let isThere = FileManager.default.fileExists(atPath: url.path)
        let isWhole = isThere ? try replay(try Data(contentsOf: url), &state) : false
        do {
            try compact(&state)
        } catch {
            // A full disk: what is there is good, and grows no longer by what is done.
            guard isWhole else { throw error }
            state.file = try OutboxFile(openingAt: url.path)
        }
    }

    /// Takes over what is in the file. Nothing of it is changed before all of it is known to be ours.
    ///
    /// - Returns: whether more can be appended to it as it is.
    private func replay(_ data: Data, _ state: inout State) throws -> Bool {
        var isWhole = data.last == UInt8(ascii: "\n")
        let lines = data.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        for (index, bytes) in lines.enumerated() where !bytes.allSatisfy({ $0 == 0x20 || $0 == 0x0D }) {
            let line = try? JSONDecoder().decode(Line.self, from: bytes)
            if let record = line?.put {
                state.records[record.version] = record
            } else if let version = line?.done {
                state.records[version] = nil
            } else if index == 0, let line, line.isHeader {
                guard line.format == Line.header.format else {
                    throw StarlingError("outbox_failed", "\(url.path) is of another version of this client")
                }
            } else if index == 0 || index < lines.count - 1 {
                throw StarlingError(
                    "outbox_failed", "line \(index + 1) of \(url.path) is none of an outbox; nothing was changed")
            } else {
                // The last line of a process that was killed in the middle of it.
                isWhole = false
            }
            state.lines += 1
        }
        return isWhole
    }

    /// Lets another client have the file.
    public func close() {
        state.withLock { state in
            state.file = nil
            state.lock = nil
        }
    }

    /// Begins a new file with what still waits; the old one stays until the new one is whole.
    private func compact(_ state: inout State) throws {
        var content = try Self.line(.header)
        for record in state.records.values { content += try Self.line(Line(put: record)) }
        state.file = try OutboxFile(replacing: url.path, with: content)
        state.lines = state.records.count
    }

    private static func line(_ line: Line) throws -> Data {
        try JSONEncoder().encode(line) + [UInt8(ascii: "\n")]
    }

    private func append(_ line: Line, _ state: inout State) throws {
        guard let file = state.file else {
            throw StarlingError("outbox_failed", "the outbox \(url.path) is closed")
        }
        try file.append(Self.line(line), fsync: fsync)
        state.lines += 1
        // On a full disk the old file goes on.
        if state.lines > 1_000, state.lines > 4 * state.records.count { try? compact(&state) }
    }

    /// Appends a write.
    public func put(_ record: WriteRecord) throws {
        try state.withLock { state in
            state.records[record.version] = record
            do {
                try append(Line(put: record), &state)
            } catch {
                state.records[record.version] = nil
                throw error
            }
        }
    }

    /// Appends that a write has its final answer.
    public func remove(version: String) throws {
        try state.withLock { state in
            guard state.records.removeValue(forKey: version) != nil else { return }
            try append(Line(done: version), &state)
        }
    }
}
