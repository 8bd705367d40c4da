import Foundation

/// The real server, as a process of its own on a free port, over a database in a folder that goes with it.
final class ServerProcess: Sendable {
    /// The binary: beside this test's own, or where `STARLING_BINARY` says.
    static let binary: URL = {
        if let path = ProcessInfo.processInfo.environment["STARLING_BINARY"] { return URL(filePath: path) }
        return URL(filePath: CommandLine.arguments[0]).deletingLastPathComponent().appending(path: "starling")
    }()

    let folder: URL
    let port: Int
    private let process: ChildProcess
    private let isFolderOwned: Bool

    var url: String { "ws://127.0.0.1:\(port)/sync" }
    var database: URL { folder.appending(path: "starling.db") }
    var pid: Int32 { process.pid }

    /// Starts a server and waits until it is ready.
    ///
    /// - Parameters:
    ///   - folder: where the database is, from an earlier server; nil makes a new one.
    ///   - descriptors: how many it may have open; nil: as many as this test may.
    init(
        in folder: URL? = nil, _ arguments: [String] = [], environment: [String: String] = [:],
        limitedTo descriptors: Int? = nil
    ) throws {
        isFolderOwned = folder == nil
        self.folder = try folder ?? ServerProcess.makeFolder()
        let output = try ChildPipe()
        defer { close(output.reader) }
        let database = self.folder.appending(path: "starling.db").path
        let log = open(self.folder.appending(path: "server.log").path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
        let nothing = open("/dev/null", O_RDONLY | O_CLOEXEC)
        let command = ["serve", "--port", "0", "--threads", "2", "--data", database] + arguments
        let limited = descriptors.map { ["-c", "ulimit -n \($0) && exec \"$@\"", "sh", Self.binary.path] }
        process = try ChildProcess(
            limited == nil ? Self.binary : URL(filePath: "/bin/sh"), (limited ?? []) + command,
            environment: environment, input: nothing, output: output.writer, errors: log)
        for descriptor in [log, nothing, output.writer] { close(descriptor) }
        port = try Self.waitUntilReady(output)
    }

    deinit {
        process.kill(SIGKILL)
        _ = process.wait()
        if isFolderOwned { try? FileManager.default.removeItem(at: folder) }
    }

    static func makeFolder() throws -> URL {
        let folder = FileManager.default.temporaryDirectory.appending(path: "starling-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        return folder
    }

    /// Reads what the server prints, up to the line with its URL.
    private static func waitUntilReady(_ output: ChildPipe) throws -> Int {
        var text = ""
        while true {
            let bytes = output.read()
            if bytes.isEmpty { throw TestFailure("the server ended before it was ready: \(text)") }
            text += String(decoding: bytes, as: UTF8.self)
            if let match = text.firstMatch(of: /is ready: wss?:\/\/127\.0\.0\.1:(\d+)\/sync/), let port = Int(match.1) {
                return port
            }
        }
    }

    /// Asks the server to stop.
    func terminate() { process.kill(SIGTERM) }

    /// Waits for the end.
    ///
    /// - Returns: the exit status.
    func wait() -> Int32 { process.wait() }

    /// Ends the server as a crash of its process would.
    func killHard() {
        process.kill(SIGKILL)
        _ = process.wait()
    }

    /// Asks until there is an answer.
    @discardableResult
    static func until<Value>(_ ask: () throws -> Value?) throws -> Value {
        let deadline = ContinuousClock.now + .seconds(30)
        while ContinuousClock.now < deadline {
            if let value = try ask() { return value }
        }
        throw TestFailure("there was no answer in 30 s")
    }

    /// Runs the binary, or another program, to its end.
    static func run(
        _ arguments: [String], program: URL = binary, input: String = "", environment: [String: String] = [:]
    ) throws -> (status: Int32, output: String, errors: String) {
        let (inputs, outputs, errors) = (try ChildPipe(), try ChildPipe(), try ChildPipe())
        let process = try ChildProcess(
            program, arguments, environment: environment, input: inputs.reader, output: outputs.writer,
            errors: errors.writer)
        for descriptor in [inputs.reader, outputs.writer, errors.writer] { close(descriptor) }
        // Less than a pipe holds, both ways: nobody has to wait for anybody.
        _ = Array(input.utf8).withUnsafeBytes { write(inputs.writer, $0.baseAddress, $0.count) }
        close(inputs.writer)
        let output = outputs.readAll()
        let complaints = errors.readAll()
        for descriptor in [outputs.reader, errors.reader] { close(descriptor) }
        return (process.wait(), output, complaints)
    }
}

struct UncheckedBox<Value>: @unchecked Sendable {
    let value: Value
    init(_ value: Value) { self.value = value }
}

struct TestFailure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}
