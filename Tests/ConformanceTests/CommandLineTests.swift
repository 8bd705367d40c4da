import Foundation
import SyncProtocol
import TestSupport
import Testing

extension ConformanceTests {
    /// The commands, as a person at a terminal uses them.
    struct CommandLineTests {
        @Test("pub, get, keys, sub and del do what their help says")
        func commands() throws {
            let server = try ServerProcess()
            func starling(_ arguments: String..., input: String = "") throws -> (
                status: Int32, output: String, errors: String
            ) {
                try ServerProcess.run(arguments + ["--url", server.url], input: input)
            }
            #expect(try starling("get", "a").status == 1)
            #expect(try starling("pub", "a", "hello") == (0, "", ""))
            #expect(try starling("get", "a").output == "\"hello\"\n")
            #expect(try starling("pub", "a", #"{"n": 1}"#).status == 0)
            #expect(try starling("get", "a").output == "{\"n\": 1}\n")
            #expect(try starling("pub", "log", "-", input: "one\n2\n[3]\n").status == 0)
            #expect(try starling("get", "log").output == "[3]\n")
            #expect(try starling("keys").output == "a\nlog\n")
            #expect(try starling("keys", "l*").output == "log\n")
            #expect(try starling("sub", "*", "--once").output == "a\t{\"n\": 1}\nlog\t[3]\n")
            let json = try starling("get", "a", "--json").output
            #expect(try JSONObject(Array(json.utf8)).bool("found") == true)
            #expect(try starling("pub", "a", "1", "--expect", "none").status == 1)
            #expect(try starling("pub", "b", "1", "--expect", "none").status == 0)
            #expect(try starling("del", "b").status == 0)
            #expect(try starling("get", "b").status == 1)
            #expect(try starling("pub", "", "1").status == 70)
            // A refusal while lines are on their way.
            let refused = try starling("pub", "a", "-", "--expect", "none", input: "1\n2\n3\n")
            #expect(refused.status == 1 && refused.errors.contains("line 1 was not written"), "\(refused)")
            #expect(try starling("pub", "a\tb", "-", input: "1\n2\n").status == 70)
            #expect(try ServerProcess.run(["pub", "--url", server.url, "temperature", "--", "-5"]).status == 0)
            #expect(try starling("sub", "***").errors.hasPrefix("starling: bad_pattern: "))
            #expect(try starling("pub", "c", "1", "--agent", "planner", "--json").output.contains("-planner\""))
        }

        @Test("No server is exit code 69 and one sentence; a bad URL is 64")
        func failures() throws {
            let refused = try ServerProcess.run(["get", "a", "--url", "ws://127.0.0.1:1/sync"])
            #expect(refused.status == 69)
            #expect(refused.errors.hasPrefix("starling: cannot connect to ws://127.0.0.1:1/sync: "))
            #expect(try ServerProcess.run(["get", "a", "--url", "http://x"]).status == 64)
            #expect(try ServerProcess.run(["serve", "--port", "70000"]).status == 64)
            #expect(try ServerProcess.run(["serve"], environment: ["STARLING_PORT": "many"]).status == 64)
            #expect(try ServerProcess.run(["nonsense"]).status == 64)
        }

        @Test("Without access rules only this machine is listened to, unless it is said in so many words")
        func open() throws {
            let refused = try ServerProcess.run(["serve", "--host", "0.0.0.0", "--port", "0"])
            #expect(refused.status == 70)
            #expect(refused.errors.contains("--insecure-open"))
        }

        @Test("The environment stands in for options, and options win")
        func environment() throws {
            let folder = try ServerProcess.makeFolder()
            defer { try? FileManager.default.removeItem(at: folder) }
            let data = folder.appending(path: "env.db").path
            let environment = ["STARLING_DATA": data, "STARLING_HOST": "0.0.0.0", "STARLING_MAX_DRIFT": "5"]
            #expect(try ServerProcess.run(["serve", "--port", "0"], environment: environment).status == 70)
            #expect(!FileManager.default.fileExists(atPath: data))
            let bad = try ServerProcess.run(
                ["serve", "--host", "127.0.0.1", "--durability", "maybe"], environment: environment)
            #expect(bad.status == 64)
        }

        @Test("Help is what Tests/ConformanceTests/Help says; UPDATE_SNAPSHOTS=1 writes it anew")
        func help() throws {
            let commands = [
                "", "serve", "sub", "pub", "get", "del", "touch", "batch", "keys", "backup", "restore", "check",
                "export",
                "import",
                "verify", "bench", "token", "rekey", "echo", "swarm", "swarm init", "swarm watch", "task",
                "task submit",
                "task next", "inbox",
            ]
            for command in commands {
                let arguments = command.split(separator: " ").map(String.init) + ["--help"]
                let name = command.replacing(" ", with: "-")
                let output = try ServerProcess.run(arguments, environment: ["COLUMNS": "100"]).output
                let file = Repository.file("Tests/ConformanceTests/Help/\(command.isEmpty ? "starling" : name).txt")
                if ProcessInfo.processInfo.environment["UPDATE_SNAPSHOTS"] == "1" {
                    try FileManager.default.createDirectory(
                        at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
                    try output.write(to: file, atomically: true, encoding: .utf8)
                }
                #expect(try String(contentsOf: file, encoding: .utf8) == output, "\(command)")
            }
        }

        @Test(
            "A batch from a file or a pipe is made whole, says why it was not, and is not sent where a field is mistyped"
        )
        func batch() throws {
            let server = try ServerProcess()
            func run(_ input: String, _ options: String...) throws -> (status: Int32, output: String, errors: String) {
                try ServerProcess.run(["batch", "--url", server.url] + options, input: input)
            }
            let made = #"{"writes":[{"key":"a","value":1,"expect":null},{"key":"b","value":2}]}"#
            #expect(try run(made, "--op", "0011223344556677").status == 0)
            #expect(try run(made, "--op", "0011223344556677", "--json").output.contains(#""first":1,"last":2"#))
            let refused = try run(made)
            #expect(refused.status == 1 && refused.errors.contains("writes[0], a: it has version"))
            #expect(refused.errors.contains("nothing was changed"))
            for wrong in [
                "", "{}", "[]", #"{"writes":[{"key":"c","value":1,"exepct":null}]}"#, #"{"writes":[],"requires":[]}"#,
            ] {
                let answer = try run(wrong)
                #expect(answer.status == 64 && answer.errors.contains("the standard input"), "\(wrong): \(answer)")
            }
            let none = try ServerProcess.run(["batch", "/no/such/file", "--url", server.url])
            #expect(none.status == 64 && none.errors.contains("cannot be read"))
            #expect(try ServerProcess.run(["get", "c", "--url", server.url]).status == 1)
        }

        @Test("Health, readiness and metrics answer on the same port")
        func http() throws {
            let server = try ServerProcess()
            #expect(try HTTP.get("/healthz", server).hasSuffix("\r\n\r\nok\n"))
            #expect(try HTTP.get("/readyz", server).hasSuffix("\r\n\r\nready\n"))
            let client = try RawClient.connected(server)
            try client.send(#"{"type":"subscribe","id":"s","pattern":"*"}"#)
            _ = try client.receive(type: "synced")
            try client.send(#"{"type":"broadcast","key":"k","value":1}"#, "bad")
            _ = try client.receive(type: "update")
            _ = try client.receive(type: "error")
            let metrics = try HTTP.get("/metrics", server)
            for line in [
                "starling_connections 1", #"starling_subscriptions{state="live"} 1"#, "starling_writes_total 1",
                #"starling_refusals_total{code="bad_json"} 1"#, "starling_batch_writes_count 1",
                "starling_commit_seconds_count 1",
                "starling_revision 1", "starling_demotions_total 0", "starling_backlog_bytes 0",
            ] {
                #expect(metrics.contains("\n\(line)\n"), "\(line)")
            }
        }
    }
}
