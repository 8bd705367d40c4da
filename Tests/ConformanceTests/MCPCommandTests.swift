import Foundation
import StarlingServer
import SyncProtocol
import Testing

extension ConformanceTests {
    /// `starling mcp`, as an editor starts it.
    struct MCPCommandTests {
        /// The command, with pipes to it.
        private final class Bridge {
            let process: ChildProcess
            private let input: ChildPipe
            private let output: ChildPipe
            private var text = ""

            init(_ arguments: [String], environment: [String: String] = [:]) throws {
                (input, output) = (try ChildPipe(), try ChildPipe())
                process = try ChildProcess(
                    ServerProcess.binary, ["mcp"] + arguments, environment: environment, input: input.reader,
                    output: output.writer, errors: STDERR_FILENO)
                close(input.reader)
                close(output.writer)
            }

            deinit { close(output.reader) }

            func send(_ line: String) {
                _ = Array((line + "\n").utf8).withUnsafeBytes { write(input.writer, $0.baseAddress, $0.count) }
            }

            func end() { close(input.writer) }

            func line() throws -> JSONObject {
                while true {
                    if let end = text.firstIndex(of: "\n") {
                        let line = text[..<end]
                        text = String(text[text.index(after: end)...])
                        return try JSONObject(Array(line.utf8))
                    }
                    let bytes = output.read()
                    if bytes.isEmpty { throw TestFailure("the command ended") }
                    text += String(decoding: bytes, as: UTF8.self)
                }
            }

            /// The next message with an id.
            func answer(to id: Int64) throws -> JSONObject {
                while true {
                    let line = try line()
                    if line.integer("id") == id { return line }
                }
            }

            func notification() throws -> JSONObject {
                while true {
                    let line = try line()
                    if line.raw("id") == nil { return line }
                }
            }

            func begin() throws -> JSONObject {
                send(
                    #"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"editor"}}}"#
                )
                let answer = try answer(to: 0)
                send(#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#)
                return answer
            }
        }

        private func call(_ id: Int, _ tool: String, _ arguments: String) -> String {
            #"{"jsonrpc":"2.0","id":\#(id),"method":"tools/call","params":{"name":"\#(tool)","arguments":\#(arguments)}}"#
        }

        @Test("A session outlives the server: subscriptions too, and what may have changed is told")
        func restart() throws {
            let folder = try ServerProcess.makeFolder()
            defer { try? FileManager.default.removeItem(at: folder) }
            var server = try ServerProcess(in: folder)
            let bridge = try Bridge(["--url", server.url])
            let begun = try bridge.begin().object("result")
            #expect(begun?.string("instructions")?.contains("You are editor-") == true)
            bridge.send(
                #"{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{"uri":"starling://keys/a"}}"#)
            #expect(try bridge.answer(to: 1).object("result") != nil)
            bridge.send(call(2, "memory_store", #"{"key":"k","value":1}"#))
            #expect(try bridge.answer(to: 2).object("result")?.bool("isError") == nil)
            let port = server.port
            server.killHard()
            server = try ServerProcess(in: folder, ["--port", "\(port)"])
            bridge.send(call(3, "memory_get", #"{"key":"k"}"#))
            // Whether the list of resources has changed is told, too.
            var told: String?
            while told != "starling://keys/a" { told = try bridge.notification().object("params")?.string("uri") }
            #expect(try bridge.answer(to: 3).object("result")?.object("structuredContent")?.integer("value") == 1)
            _ = try MCPClient(server).call("key_write", #"{"key":"a","value":1}"#)
            #expect(try bridge.notification().string("method") == "notifications/resources/updated")
            bridge.end()
            #expect(bridge.process.wait() == 0)
        }

        @Test("Without sessions too: a listener, and a call that is cancelled gives back what it was waiting for")
        func modern() throws {
            let server = try ServerProcess()
            let setup = try MCPClient(server)
            _ = try setup.call("swarm_init", #"{"swarm":"s","topology":"mesh"}"#)
            let bridge = try Bridge(["--url", server.url, "--agent", "ada"])
            func waiting() throws -> Int64? {
                try setup.call("swarm_status", #"{"swarm":"s"}"#).content.integer("waiting")
            }
            bridge.send(
                MCPClient.modern(
                    "subscriptions/listen", #""notifications":{"resourceSubscriptions":["starling://keys/a"]}"#, id: "9"
                ).body)
            #expect(try bridge.line().string("method") == "notifications/subscriptions/acknowledged")
            bridge.send(
                MCPClient.modern("tools/call", #""name":"task_next","arguments":{"swarm":"s","wait":50}"#, id: "10")
                    .body)
            try ServerProcess.until { try waiting() == 1 ? true : nil }
            bridge.send(#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":10}}"#)
            try ServerProcess.until { try waiting() == 0 ? true : nil }
            _ = try setup.call("key_write", #"{"key":"a","value":1}"#)
            #expect(try bridge.line().object("params")?.string("uri") == "starling://keys/a")
            bridge.send(#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":9}}"#)
            bridge.send(MCPClient.modern("server/discover", id: "11").body)
            #expect(try bridge.answer(to: 11).object("result")?.string("instructions")?.contains("You are ada") == true)
            bridge.send("{")
            #expect(try bridge.line().object("error")?.integer("code") == -32_700)
            bridge.end()
            #expect(bridge.process.wait() == 0)
        }

        @Test(
            "Where there is no server it says so; with --spawn there is one, for two who start at once, and it ends when nobody uses it"
        )
        func spawn() throws {
            let folder = try ServerProcess.makeFolder()
            defer { try? FileManager.default.removeItem(at: folder) }
            // A port that was free a moment ago.
            let port = try ServerProcess().port
            let discover = MCPClient.modern("server/discover").body + "\n"
            let url = ["--url", "ws://127.0.0.1:\(port)/sync"]
            let missing = try ServerProcess.run(["mcp"] + url, input: discover)
            #expect(missing.output.contains("cannot connect") && missing.output.contains(#""id":1"#), "\(missing)")
            let home = ["XDG_DATA_HOME": folder.path]
            let bridges = try (0..<3).map { _ in try Bridge(url + ["--spawn"], environment: home) }
            for bridge in bridges { bridge.send(discover.trimmingCharacters(in: .newlines)) }
            for bridge in bridges { #expect(try bridge.line().object("result") != nil) }
            #expect(FileManager.default.fileExists(atPath: folder.appending(path: "starling/starling.db").path))
            for bridge in bridges { bridge.end() }
            // It would be there for ten minutes.
            let pid = try ServerProcess.until { () throws -> Int32? in
                let servers = try ServerProcess.run(
                    ["-f", "serve --host 127.0.0.1 --port \(port) --data \(folder.path)"],
                    program: URL(filePath: "/usr/bin/pgrep"))
                let pids = servers.output.split(separator: "\n").compactMap { Int32($0) }
                return pids.count == 1 ? pids.first : nil
            }
            kill(pid, SIGTERM)
            let remote = try ServerProcess.run(["mcp", "--url", "ws://example.com/sync", "--spawn"])
            #expect(remote.status == 64 && remote.errors.contains("this machine"))
            let idle = try ServerProcess(["--exit-when-idle", "1"])
            #expect(idle.wait() == 0)
        }

        @Test("Settings are printed, and written when that is asked for; what was there is kept beside it")
        func install() throws {
            let folder = try ServerProcess.makeFolder()
            defer { try? FileManager.default.removeItem(at: folder) }
            let environment = ["HOME": folder.path, "CODEX_HOME": folder.path + "/codex", "STARLING_TOKEN": ""]
            let paths = [
                "claude-code": ".claude.json", "cursor": ".cursor/mcp.json", "codex": "codex/config.toml",
                "claude-desktop": ".config/Claude/claude_desktop_config.json", "vscode": ".config/Code/User/mcp.json",
            ]
            for (program, path) in paths {
                let file = folder.appending(path: path)
                let shown = try ServerProcess.run(["mcp", "install", program, "--user"], environment: environment)
                #expect(
                    shown.status == 0 && shown.output.contains("starling") && shown.errors.contains(path), "\(shown)")
                #expect(!FileManager.default.fileExists(atPath: file.path))
                try FileManager.default.createDirectory(
                    at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
                let before = program == "codex" ? "model = \"m\"\n" : #"{"a":1}"#
                try before.write(to: file, atomically: true, encoding: .utf8)
                for _ in 0..<2 {
                    let written = try ServerProcess.run(
                        ["mcp", "install", program, "--user", "--write", "--spawn", "--agent", "ada"],
                        environment: environment)
                    #expect(written.status == 0, "\(written)")
                }
                let after = try String(contentsOf: file, encoding: .utf8)
                #expect(
                    after.contains("--spawn") && after.contains(program == "codex" ? "model = \"m\"" : "\"a\": 1"),
                    "\(after)")
                #expect(try String(contentsOfFile: file.path + ".before-starling", encoding: .utf8) == before)
            }
        }
    }
}
