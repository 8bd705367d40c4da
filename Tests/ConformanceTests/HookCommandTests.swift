import Foundation
import SyncProtocol
import Testing

extension ConformanceTests {
    /// `starling hook` and `starling hooks`.
    struct HookCommandTests {
        private let home: URL

        init() throws { home = try ServerProcess.makeFolder() }

        private func starling(
            _ arguments: [String], input: String = "", _ environment: [String: String] = [:]
        ) throws -> (status: Int32, output: String, errors: String) {
            // In a folder of its own, since that is where a project's settings are.
            try ServerProcess.run(
                ["-c", "cd \"$0\" && exec \"$@\"", home.path, ServerProcess.binary.path] + arguments,
                program: URL(filePath: "/bin/sh"), input: input,
                environment: environment.merging(["HOME": home.path, "PATH": "/usr/bin:/bin"]) { first, _ in first })
        }

        private func text(_ name: String) throws -> String? {
            FileManager.default.contents(atPath: home.appending(path: name).path).map {
                String(decoding: $0, as: UTF8.self)
            }
        }

        private func write(_ text: String, _ name: String) throws {
            let file = home.appending(path: name)
            try FileManager.default.createDirectory(
                at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
            try Data(text.utf8).write(to: file)
        }

        @Test("A hook exits with 0, whatever is wrong: no server, no event, no JSON, options that there are not")
        func alwaysZero() throws {
            defer { try? FileManager.default.removeItem(at: home) }
            let event = #"{"session_id":"s","hook_event_name":"Stop"}"#
            for (arguments, input) in [
                (["hook", "Stop", "--url", "ws://127.0.0.1:1/sync"], event), (["hook", "--url", "nonsense"], event),
                (["hook"], ""),
                (["hook", "Stop", "--url", "ws://127.0.0.1:1/sync"], "no JSON"), (["hook", "--no-such-option"], event),
                (["hook", "Stop", "--ca", "/nowhere", "--url", "wss://127.0.0.1:1/sync"], event),
                (["hook", "a", "b", "c"], event),
            ] {
                let ran = try starling(arguments, input: input)
                #expect(
                    ran.status == 0 && ran.output.isEmpty && ran.errors.hasPrefix("starling: "), "\(arguments): \(ran)")
            }
            let help = try starling(["hook", "--help"])
            #expect(help.status == 0 && help.output.contains("Tell the server of an event"))
        }

        @Test("A command handler prints what the server says, and nothing where it says nothing")
        func command() throws {
            defer { try? FileManager.default.removeItem(at: home) }
            let server = try ServerProcess()
            let stop = try starling(
                ["hook", "--url", server.url, "--agent", "ada"],
                input: #"{"session_id":"s","hook_event_name":"Stop","last_assistant_message":"All is well."}"#)
            #expect(stop.status == 0 && stop.output.isEmpty && stop.errors.isEmpty, "\(stop)")
            _ = try starling(
                ["hook", "SessionEnd", "--agent", "ada"], input: #"{"session_id":"s"}"#, ["STARLING_URL": server.url])
            let start = try starling(
                ["hook", "SessionStart", "--url", server.url, "--agent", "ada"], input: #"{"session_id":"t"}"#)
            let output = try JSONObject(Array(start.output.utf8)).object("hookSpecificOutput")
            #expect(output?.string("hookEventName") == "SessionStart")
            #expect(output?.string("additionalContext") == "The last session of ada, s: All is well.")
        }

        @Test(
            "To install twice is to install once; to take out is to have the file as it was, to the byte; each handler works"
        )
        func installing() throws {
            defer { try? FileManager.default.removeItem(at: home) }
            let server = try ServerProcess()
            let original =
                "{\"model\": \"opus\",\n\t\"hooks\": {\"Stop\": [{\"hooks\":[{\"type\":\"command\",\"command\":\"true\"}]}]}}"
            try write(original, ".claude/settings.json")
            let install = [
                "hooks", "install", "--project", "--url", server.url, "--agent", "it's ada", "--reservations",
                "--swarm", "a b",
            ]
            #expect(
                try starling(install).output.hasPrefix(
                    "Installed the hooks in .claude/settings.json, for agent it's ada.\n"))
            let first = try text(".claude/settings.json")
            #expect(try starling(install).output.hasPrefix("Updated"))
            #expect(try text(".claude/settings.json") == first)
            let status = try starling(["hooks", "status"])
            #expect(status.status == 0, "\(status)")
            let lines = status.output.split(separator: "\n")
            #expect(
                lines.count == 14 && lines.dropFirst().allSatisfy { $0.contains("ok, and nothing to say") }, "\(status)"
            )
            #expect(try starling(["keys", "session:**", "--url", server.url]).output.isEmpty, "a trial leaves nothing")
            #expect(try starling(["hooks", "uninstall", "--project"]).status == 0)
            #expect(try text(".claude/settings.json") == original)
            #expect(try text(".claude/settings.json.before-starling") == nil)
            #expect(try starling(["hooks", "uninstall", "--project"]).status == 1)
            #expect(try starling(["hooks", "status"]).status == 1)
            for place in ["--local", "--user", "--copilot"] {
                let made = try starling(["hooks", "install", place, "--url", server.url])
                #expect(made.status == 0, "\(made)")
                #expect(try starling(["hooks", "status"]).status == 0, "\(place)")
                #expect(try starling(["hooks", "uninstall", place]).output.hasPrefix("Removed "))
            }
        }

        @Test("Status says what a coding agent would meet: no server, no token, a wrong one")
        func status() throws {
            defer { try? FileManager.default.removeItem(at: home) }
            let access = try AccessFixture()
            try access.add("worker", read: ["*"], write: ["*"])
            let server = try access.start()
            _ = try starling(["hooks", "install", "--url", server.url, "--authorize"])
            let without = try starling(["hooks", "status"])
            #expect(without.status == 1 && without.output.contains("$STARLING_TOKEN is not set here"), "\(without)")
            #expect(without.output.contains("SessionStart") && without.output.contains("unauthorized"))
            let wrong = try starling(["hooks", "status"], ["STARLING_TOKEN": "stl.worker.guess"])
            #expect(wrong.status == 1 && wrong.output.contains("the server keeps nothing: unauthorized"), "\(wrong)")
            let right = try starling(["hooks", "status"], ["STARLING_TOKEN": access.tokens["worker"] ?? ""])
            #expect(right.status == 0, "\(right)")
            server.killHard()
            _ = server.wait()
            let down = try starling(["hooks", "status"], ["STARLING_TOKEN": "x"])
            #expect(down.status == 1 && down.output.contains("Is the server running?"), "\(down)")
        }

        @Test("Settings that are none stay as they are")
        func broken() throws {
            defer { try? FileManager.default.removeItem(at: home) }
            try write("// mine\n{}", ".claude/settings.local.json")
            let ran = try starling(["hooks", "install"])
            #expect(
                ran.status == 64 && ran.errors.contains(".claude/settings.local.json: it is no object of JSON"),
                "\(ran)")
            #expect(try text(".claude/settings.local.json") == "// mine\n{}")
        }
    }
}
