import Agents
import ArgumentParser
import Foundation
import NIOCore
import SyncClient

/// Does with a handler what a coding agent would, with an event of which nothing is kept.
struct HookTrial {
    /// What came of it.
    struct Outcome {
        var isWell: Bool
        var milliseconds: Int
        var text: String
    }

    private let handler: HookSettings.Handler
    /// What keeps a coding agent from calling it; nil: nothing does.
    private let obstacle: String?

    private let server: String

    /// How long a coding agent waits.
    private var patience: Int { max(1, min(60, handler.timeout)) }

    /// - Parameter server: the one that credentials are shown to.
    init(_ handler: HookSettings.Handler, server: String, obstacle: String?) {
        self.handler = handler
        self.server = server
        self.obstacle = obstacle
    }

    func run() async -> Outcome {
        let began = ContinuousClock.now
        let (isWell, text) = await answer()
        return Outcome(isWell: isWell, milliseconds: Int((ContinuousClock.now - began) / .milliseconds(1)), text: text)
    }

    /// What a coding agent would say of the event.
    private var input: String {
        #"{"session_id":"starling-hooks-status","hook_event_name":\#(JSON.quote(handler.event)),"trial":true,"#
            + #""prompt":"hooks status","tool_name":"Edit","tool_use_id":"trial","tool_input":{"file_path":"/trial","#
            + #""old_string":"a","new_string":"b"}}"#
    }

    private func answer() async -> (Bool, String) {
        if let obstacle { return (false, "is not called: \(obstacle)") }
        if let command = handler.command { return await answer(command) }
        guard let url = handler.url else { return (false, "the handler has no url and no command") }
        var headers = [(name: "Content-Type", value: "application/json")]
        for (name, value) in handler.headers {
            let variable = "STARLING_TOKEN"
            guard value.contains("$") else {
                headers.append((name: name, value: value))
                continue
            }
            guard value == "Bearer $\(variable)", handler.variables == [variable] else {
                return (false, "\(name) would be \(value), which is none of ours")
            }
            guard let token = ProcessInfo.processInfo.environment[variable], !token.isEmpty else {
                return (false, "$\(variable) is not set here")
            }
            guard url == server || url.hasPrefix(server + "/") else {
                return (false, "it would show $\(variable) to \(url): if that is your server, say so by --url")
            }
            headers.append((name: name, value: "Bearer \(token)"))
        }
        do {
            guard let target = URLComponents(string: url), let scheme = target.scheme,
                let server = target.percentEncodedHost
            else { return (false, "\(url) is no URL") }
            let port = target.port.map { ":\($0)" } ?? ""
            let dialer = try Dialer("\(scheme == "https" ? "wss" : "ws")://\(server)\(port)/hooks")
            let path = target.percentEncodedPath + (target.percentEncodedQuery.map { "?\($0)" } ?? "")
            let answer = try await HTTPPost(dialer, path: path, headers: headers).send(
                Array(input.utf8), within: .seconds(Int64(patience)))
            if let reason = answer.header("starling-degraded") { return (false, "the server keeps nothing: \(reason)") }
            guard answer.status == 200 else { return (false, "answered with status \(answer.status)") }
            return (true, Self.told(answer.body))
        } catch {
            return (false, "\(error)")
        }
    }

    private static func told(_ output: [UInt8]) -> String {
        let text = JSON.line(output).trimmingCharacters(in: .whitespacesAndNewlines)
        return text.isEmpty || text == "{}" ? "ok, and nothing to say" : "ok: \(text.prefix(200))"
    }

    private func answer(_ command: String) async -> (Bool, String) {
        guard let arguments = HookSettings.words(ofCommand: command) else {
            return (false, "the command is none that 'starling hooks install' writes")
        }
        if let index = arguments.firstIndex(of: "--url"), index + 1 < arguments.count,
            ProcessInfo.processInfo.environment["STARLING_TOKEN"]?.isEmpty == false,
            (try? HookTarget.parse(["--url", arguments[index + 1]]).origin()) != server
        {
            return (
                false,
                "it would show $STARLING_TOKEN to \(arguments[index + 1]): if that is your server, say so by --url"
            )
        }
        if !command.hasPrefix("/"), !HookSettingsFile.isInPath("starling") {
            return (false, "there is no starling in PATH")
        }
        do {
            let (status, output, errors) = try await Self.run(arguments, input, within: patience)
            let complaint = errors.split(separator: "\n").first.map { JSON.line(Array($0.utf8)) }
            guard status == 0 else { return (false, "exited with \(status): \(complaint ?? "")") }
            if let complaint { return (false, complaint) }
            return (true, Self.told(Array(output.utf8)))
        } catch {
            return (false, "\(error)")
        }
    }

    /// Runs this program with some text as its standard input. What it writes is read to its end only when it has ended, so it goes to files.
    private static func run(
        _ arguments: [String], _ input: String, within patience: Int
    ) async throws -> (Int32, String, String) {
        let folder = FileManager.default.temporaryDirectory.appending(path: "starling-hook-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(at: folder) }
        let files = try ["input", "output", "errors"].map { name in
            let file = folder.appending(path: name)
            try Data(name == "input" ? input.utf8 : "".utf8).write(to: file)
            return name == "input" ? try FileHandle(forReadingFrom: file) : try FileHandle(forWritingTo: file)
        }
        let process = Process()
        process.executableURL = URL(filePath: CommandLine.executable)
        process.arguments = arguments
        (process.standardInput, process.standardOutput, process.standardError) = (files[0], files[1], files[2])
        try process.run()
        let timer = Task {
            try await Task.sleep(for: .seconds(patience))
            process.terminate()
        }
        defer { timer.cancel() }
        process.waitUntilExit()
        let texts = try ["output", "errors"].map { try String(contentsOf: folder.appending(path: $0), encoding: .utf8) }
        return (process.terminationStatus, texts[0], texts[1])
    }
}
