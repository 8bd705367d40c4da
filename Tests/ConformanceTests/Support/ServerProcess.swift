import Foundation
import Synchronization

/// The real server, as a process of its own on a free port, over a database in a folder that goes with it.
final class ServerProcess: Sendable {
    /// The binary: beside this test's own, or where `STARLING_BINARY` says.
    static let binary: URL = {
        if let path = ProcessInfo.processInfo.environment["STARLING_BINARY"] { return URL(filePath: path) }
        return URL(filePath: CommandLine.arguments[0]).deletingLastPathComponent().appending(path: "starling")
    }()

    let folder: URL
    let port: Int
    private let process: Mutex<Process>
    private let isFolderOwned: Bool

    var url: String { "ws://127.0.0.1:\(port)/sync" }
    var database: URL { folder.appending(path: "starling.db") }
    var pid: Int32 { process.withLock { $0.processIdentifier } }

    /// Starts a server and waits until it is ready.
    ///
    /// - Parameter folder: where the database is, from an earlier server; nil makes a new one.
    init(in folder: URL? = nil, _ arguments: [String] = []) throws {
        isFolderOwned = folder == nil
        self.folder = try folder ?? ServerProcess.makeFolder()
        let process = Process()
        process.executableURL = Self.binary
        process.currentDirectoryURL = self.folder
        process.arguments = ["serve", "--port", "0", "--threads", "2"] + arguments
        let output = Pipe()
        process.standardOutput = output
        // Not this process's own: whoever waits for the end of that would wait for a server that is left over.
        let log = self.folder.appending(path: "server.log")
        try Data().write(to: log)
        process.standardError = try FileHandle(forWritingTo: log)
        try process.run()
        self.process = Mutex(process)
        port = try Self.waitUntilReady(output.fileHandleForReading)
    }

    deinit {
        process.withLock { process in
            if process.isRunning {
                kill(process.processIdentifier, SIGKILL)
                process.waitUntilExit()
            }
        }
        if isFolderOwned { try? FileManager.default.removeItem(at: folder) }
    }

    static func makeFolder() throws -> URL {
        let folder = FileManager.default.temporaryDirectory.appending(path: "starling-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        return folder
    }

    /// Reads what the server prints, up to the line with its URL.
    private static func waitUntilReady(_ output: FileHandle) throws -> Int {
        var text = ""
        while true {
            let data = output.availableData
            if data.isEmpty { throw TestFailure("the server ended before it was ready: \(text)") }
            text += String(decoding: data, as: UTF8.self)
            if let match = text.firstMatch(of: /is ready: ws:\/\/127\.0\.0\.1:(\d+)\/sync/), let port = Int(match.1) {
                return port
            }
        }
    }

    /// Asks the server to stop.
    func terminate() { kill(pid, SIGTERM) }

    /// Waits for the end.
    ///
    /// - Returns: the exit status.
    func wait() -> Int32 {
        let process = process.withLock { UncheckedBox($0) }
        process.value.waitUntilExit()
        return process.value.terminationStatus
    }

    /// Ends the server as a power cut of its process would.
    func killHard() {
        kill(pid, SIGKILL)
        _ = wait()
    }

    /// Runs the binary to its end.
    static func run(
        _ arguments: [String], input: String? = nil, environment: [String: String] = [:]
    ) throws -> (status: Int32, output: String, errors: String) {
        let process = Process()
        process.executableURL = binary
        process.arguments = arguments
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        let (outputs, errors, inputs) = (Pipe(), Pipe(), Pipe())
        process.standardOutput = outputs
        process.standardError = errors
        process.standardInput = inputs
        try process.run()
        if let input { try inputs.fileHandleForWriting.write(contentsOf: Data(input.utf8)) }
        try inputs.fileHandleForWriting.close()
        let output = outputs.fileHandleForReading.readDataToEndOfFile()
        let complaints = errors.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return (
            process.terminationStatus, String(decoding: output, as: UTF8.self), String(decoding: complaints, as: UTF8.self)
        )
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
