import Agents
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

    private static let patience = 5

    private let handler: HookSettings.Handler

    init(_ handler: HookSettings.Handler) {
        self.handler = handler
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
        if let command = handler.command { return await answer(command) }
        guard let url = handler.url else { return (false, "the handler has no url and no command") }
        var headers = [(name: "Content-Type", value: "application/json")]
        for (name, value) in handler.headers {
            var value = value
            for variable in handler.variables where value.contains("$\(variable)") {
                guard let content = ProcessInfo.processInfo.environment[variable], !content.isEmpty else {
                    return (false, "$\(variable) is not set here")
                }
                value = value.replacingOccurrences(of: "$\(variable)", with: content)
            }
            headers.append((name: name, value: value))
        }
        do {
            guard let target = URLComponents(string: url), let scheme = target.scheme,
                let server = target.percentEncodedHost
            else { return (false, "\(url) is no URL") }
            let port = target.port.map { ":\($0)" } ?? ""
            let dialer = try Dialer("\(scheme == "https" ? "wss" : "ws")://\(server)\(port)/")
            let path = target.percentEncodedPath + (target.percentEncodedQuery.map { "?\($0)" } ?? "")
            let answer = try await HTTPPost(dialer, path: path, headers: headers).send(
                Array(input.utf8), within: .seconds(Int64(Self.patience)))
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
        do {
            let (status, output, errors) = try await Self.run(command, input)
            let complaint = errors.split(separator: "\n").first.map(String.init)
            guard status == 0 else { return (false, "exited with \(status): \(complaint ?? "")") }
            if let complaint { return (false, complaint) }
            return (true, Self.told(Array(output.utf8)))
        } catch {
            return (false, "\(error)")
        }
    }

    /// Runs a command of a shell's with some text as its standard input.
    private static func run(_ command: String, _ input: String) async throws -> (Int32, String, String) {
        let process = Process()
        process.executableURL = URL(filePath: "/bin/sh")
        process.arguments = ["-c", command]
        let (standardInput, output, errors) = (Pipe(), Pipe(), Pipe())
        process.standardInput = standardInput
        process.standardOutput = output
        process.standardError = errors
        try process.run()
        // It fits into the pipe.
        try? standardInput.fileHandleForWriting.write(contentsOf: Data(input.utf8))
        try? standardInput.fileHandleForWriting.close()
        let timer = Task {
            try await Task.sleep(for: .seconds(patience))
            process.terminate()
        }
        defer { timer.cancel() }
        let texts = [output, errors].map {
            String(decoding: (try? $0.fileHandleForReading.readToEnd()) ?? Data(), as: UTF8.self)
        }
        process.waitUntilExit()
        return (process.terminationStatus, texts[0], texts[1])
    }
}
