import Foundation
import Synchronization

/// An outbox in a file: a line of JSON for each write (`{"put":…}`) and for each final answer (`{"done":<version>}`). A write
/// is in the file before `broadcast` returns, so that it survives the process; with `fsync`, the machine too. One client at a time.
public final class FileOutbox: OutboxStore {
    private struct Line: Codable {
        var put: WriteRecord?
        var done: String?
    }

    private struct State {
        var file: FileHandle?
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
        url = URL(filePath: path)
        self.fsync = fsync
    }

    /// Reads the file, and begins it anew with what still waits.
    public func load() throws -> [WriteRecord] {
        try state.withLock { state in
            if let data = try? Data(contentsOf: url) {
                for line in data.split(separator: UInt8(ascii: "\n")) {
                    // The last line may be that of a process that was killed in the middle of it.
                    guard let line = try? JSONDecoder().decode(Line.self, from: line) else { continue }
                    if let record = line.put { state.records[record.version] = record }
                    if let version = line.done { state.records[version] = nil }
                }
            }
            try compact(&state)
            return Array(state.records.values)
        }
    }

    /// Begins a new file with what still waits; the old one stays until the new one is whole.
    private func compact(_ state: inout State) throws {
        let temporary = url.appendingPathExtension("new")
        guard
            FileManager.default.createFile(
                atPath: temporary.path, contents: nil, attributes: [.posixPermissions: 0o600])
        else { throw CocoaError(.fileWriteUnknown, userInfo: [NSFilePathErrorKey: temporary.path]) }
        let file = try FileHandle(forWritingTo: temporary)
        for record in state.records.values { try file.write(contentsOf: Self.line(Line(put: record))) }
        try file.synchronize()
        guard rename(temporary.path, url.path) == 0 else { throw CocoaError(.fileWriteUnknown) }
        try state.file?.close()
        state.file = file
        state.lines = state.records.count
    }

    private static func line(_ line: Line) throws -> Data {
        try JSONEncoder().encode(line) + [UInt8(ascii: "\n")]
    }

    private func append(_ line: Line, _ state: inout State) throws {
        try state.file?.write(contentsOf: Self.line(line))
        if fsync { try state.file?.synchronize() }
        state.lines += 1
        if state.lines > 1_000, state.lines > 4 * state.records.count { try compact(&state) }
    }

    /// Appends a write.
    public func put(_ record: WriteRecord) throws {
        try state.withLock { state in
            state.records[record.version] = record
            try append(Line(put: record), &state)
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
