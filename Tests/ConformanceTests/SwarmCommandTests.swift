import Foundation
import Testing

extension ConformanceTests {
    /// `starling swarm`, `task` and `inbox`, with the real server.
    struct SwarmCommandTests {
        private func starling(
            _ server: ServerProcess, _ arguments: String..., input: String = ""
        ) throws -> (status: Int32, output: String, errors: String) {
            try ServerProcess.run(
                arguments, input: input, environment: ["STARLING_URL": server.url, "PATH": "/usr/bin:/bin"])
        }

        /// What a command prints that is to succeed.
        private func lines(_ server: ServerProcess, _ command: String, input: String = "") throws -> [String] {
            let ran = try ServerProcess.run(
                command.split(separator: " ").map(String.init), input: input,
                environment: ["STARLING_URL": server.url])
            #expect(ran.status == 0, "\(command): \(ran.errors)")
            return ran.output.split(separator: "\n").map(String.init)
        }

        private func fence(_ server: ServerProcess, of task: String) throws -> String {
            let line = try #require(try lines(server, "task next s").first)
            let answer = try #require(JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
            #expect((answer["task"] as? [String: Any])?["task_id"] as? String == task)
            return "\(try #require(answer["fence"] as? Int))"
        }

        @Test(
            "A shell script is a worker: what it prints is the result, and its failure is somebody else's to try again")
        func exec() throws {
            let server = try ServerProcess()
            #expect(try lines(server, "swarm init s --attempts 1") == ["made s"])
            #expect(try lines(server, "swarm init s --attempts 1") == ["s is there already"])
            let tasks = #"[{"id":"a","input":"text"},{"id":"b","dependencies":["a"],"input":2}]"#
            #expect(try lines(server, "task submit s", input: tasks) == ["a", "b"])
            let done = try starling(server, "task", "next", "s", "--exec", "cat; echo $STARLING_TASK >&2")
            #expect(done.status == 0 && done.output == "a\tcompleted\n", "\(done)")
            #expect(try lines(server, "task show s a").contains("result\t\"text\""))
            let failed = try starling(server, "task", "next", "s", "--exec", "echo no >&2; exit 3")
            #expect(failed.status == 1 && failed.output == "b\tfailed\n", "\(failed)")
            #expect(
                try lines(server, "task list s").map { $0.split(separator: "\t").prefix(2).joined(separator: " ") } == [
                    "a completed", "b failed",
                ])
            #expect(try starling(server, "task", "next", "s").status == 1)
            #expect(try lines(server, "swarm end s") == ["s has ended; 0 tasks are cancelled"])
        }

        @Test("Tasks are put aside and resumed, given back, taken away, cancelled and retried, and meant for somebody")
        func control() throws {
            let server = try ServerProcess()
            _ = try lines(server, "swarm init s")
            let tasks = #"{"tasks":[{"id":"a"},{"id":"b","dependencies":["a"]}]}"#
            _ = try lines(server, "task submit s", input: tasks)
            var fence = try fence(server, of: "a")
            #expect(try lines(server, "task park s a why --fence \(fence)").first?.hasPrefix("a\tparked\t") == true)
            #expect(try starling(server, "task", "next", "s").status == 1)
            #expect(try lines(server, "task resume s a") == ["a\tready\t"])
            fence = try self.fence(server, of: "a")
            _ = try lines(server, "task release s a --fence \(fence)")
            fence = try self.fence(server, of: "a")
            _ = try lines(server, "task revoke s a")
            let late = try starling(server, "task", "complete", "s", "a", "1", "--fence", fence)
            #expect(late.status != 0 && late.errors.contains("stale_fence"), "\(late)")
            #expect(try lines(server, "task cancel s a --cascade") == ["a\tcancelled\t"])
            #expect(try lines(server, "task list s") == ["a\tcancelled\t", "b\tcancelled\t"])
            _ = try lines(server, "task retry s a --cascade")
            #expect(try lines(server, "task list s") == ["a\tready\t", "b\tpending\t"])
            #expect(try lines(server, "task assign s b ada") == ["b\tpending\tada"])
            #expect(try lines(server, "task assign s b") == ["b\tpending\t"])
            fence = try self.fence(server, of: "a")
            _ = try lines(server, "task fail s a broken --fence \(fence)")
            #expect(try lines(server, "task list s --status failed").count == 1)
            let absent = try starling(server, "task", "cancel", "s", "nope")
            #expect(absent.status != 0 && absent.errors.contains("there is no task nope in swarm s"))
        }

        @Test("Members join, write to each other and to all, and leave; a task is made to wait for one more")
        func members() throws {
            let server = try ServerProcess()
            _ = try lines(server, "swarm init s --aging 5 --max-agents 2 --on-dependency-failure run --no-mirror")
            let joined = try lines(server, "swarm join s --agent ada --role writer --capability swift --capability sql")
            #expect(joined == ["ada is a member of s, at position 0"])
            _ = try lines(server, "swarm join s --agent bob --ttl 5")
            #expect(try starling(server, "swarm", "join", "s", "--agent", "eve").status != 0, "there is room for two")
            #expect(try starling(server, "swarm", "send", "s", "x").errors.contains("--agent says who sends it"))
            #expect(
                try lines(server, "swarm send s hello --to bob --agent ada").first?.hasPrefix("swarm:s:inbox:bob:")
                    == true)
            #expect(
                try lines(server, "swarm send s [1] --agent ada --kind note").first?.hasPrefix("swarm:s:board:") == true
            )
            #expect(try lines(server, "inbox s --agent bob --ack") == ["ada\t\"hello\""])
            #expect(try starling(server, "inbox", "s", "--agent", "bob").status == 1)
            #expect(try lines(server, "swarm leave s --agent bob") == ["bob is no member of s"])
            #expect(try starling(server, "swarm", "send", "s", "x", "--to", "bob", "--agent", "ada").status != 0)
            _ = try lines(server, "task submit s", input: #"[{"id":"a"},{"id":"b"}]"#)
            #expect(try lines(server, "task depend s b a") == ["b\tpending\t"])
            #expect(try starling(server, "task", "depend", "s", "a", "b").errors.contains("cycle"))
            #expect(try lines(server, "keys task:*").isEmpty, "no copies were wanted")
        }

        @Test("What a worker is at goes on while the server is restarted, and is told of when it is back")
        func restart() throws {
            let folder = try ServerProcess.makeFolder()
            defer { try? FileManager.default.removeItem(at: folder) }
            var server = try ServerProcess(in: folder)
            let port = server.port
            _ = try lines(server, "swarm init s --attempts 1")
            _ = try lines(server, "task submit s", input: #"[{"id":"a"}]"#)
            let path = folder.path
            let command = "touch \(path)/begun; while [ ! -e \(path)/go ]; do sleep 0.05; done; echo well"
            let output = try ChildPipe()
            defer { close(output.reader) }
            let nothing = open("/dev/null", O_RDWR | O_CLOEXEC)
            let worker = try ChildProcess(
                ServerProcess.binary, ["task", "next", "s", "--loop", "--exec", command],
                environment: ["STARLING_URL": server.url, "PATH": "/usr/bin:/bin"], input: nothing,
                output: output.writer, errors: nothing)
            for descriptor in [nothing, output.writer] { close(descriptor) }
            defer {
                worker.kill(SIGKILL)
                _ = worker.wait()
            }
            try ServerProcess.until { FileManager.default.fileExists(atPath: "\(path)/begun") ? true : nil }
            server.terminate()
            #expect(server.wait() == 0)
            FileManager.default.createFile(atPath: "\(path)/go", contents: nil)
            server = try ServerProcess(in: folder, ["--port", "\(port)"])
            #expect(String(decoding: output.read(), as: UTF8.self) == "a\tcompleted\n")
            let shown = try lines(server, "task show s a")
            #expect(shown.contains("result\t\"well\"") && shown.contains { $0.contains("\"attempt\":1,") }, "\(shown)")
        }

        @Test("What is printed moves no cursor, and turns no text around")
        func controls() throws {
            let server = try ServerProcess()
            _ = try lines(server, "swarm init s")
            for agent in ["ada", "bob"] { _ = try lines(server, "swarm join s --agent \(agent)") }
            let client = try RawClient.connected(server)
            try client.send(#"{"type":"hello","id":1,"agent":"ada"}"#)
            let body = "a\u{9B}31m\u{7F}\u{202E}b"
            try client.send(#"{"type":"message.send","id":2,"swarm":"s","to":"bob","body":"\#(body)"}"#)
            _ = try client.receive(type: "sent")
            #expect(try lines(server, "inbox s --agent bob") == ["ada\t" + #""a\u009b31m\u007f\u202eb""#])
        }
    }
}
