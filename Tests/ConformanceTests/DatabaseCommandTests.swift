import Foundation
import Registers
import SyncProtocol
import Testing
import WebSocket

extension ConformanceTests {
    /// The commands that work on a database's file, beside a running server and without one.
    struct DatabaseCommandTests {
        private let folder: URL

        init() throws { folder = try ServerProcess.makeFolder() }

        private func path(_ name: String) -> String { folder.appending(path: name).path }

        private func fill(_ server: ServerProcess, _ keys: some Sequence<Int>, value: Int = 1) throws {
            let client = try RawClient.connected(server)
            var last = 0
            for key in keys {
                try client.send(#"{"type":"broadcast","key":"k:\#(key)","value":\#(value)}"#)
                last = key
            }
            try client.send(#"{"type":"delete","id":"d","key":"k:\#(last)"}"#)
            _ = try client.receive(type: "ack")
        }

        private func count(_ server: ServerProcess) throws -> Int {
            let client = try RawClient.connected(server)
            try client.send(#"{"type":"digest","id":"d","limit":10000}"#)
            return Int(try client.receive(type: "digest").integer("count") ?? -1)
        }

        @Test("A backup made under load is a whole database; restored, it has a new epoch, and old cursors resync")
        func backup() throws {
            defer { try? FileManager.default.removeItem(at: folder) }
            var cursor = ""
            do {
                let server = try ServerProcess(in: folder)
                try fill(server, 0..<500)
                let writer = UncheckedBox(try RawClient.connected(server))
                let frames = (0..<20_000).flatMap {
                    RawClient.frame(.text, Array(#"{"type":"broadcast","key":"load:\#($0)","value":1}"#.utf8))
                }
                Thread { try? writer.value.send(raw: frames) }.start()
                #expect(try ServerProcess.run(["backup", path("copy.db"), "--data", server.database.path]).status == 0)
                #expect(try ServerProcess.run(["check", "--data", path("copy.db")]).output.hasSuffix("ok\n"))
                let again = try ServerProcess.run(["backup", path("copy.db"), "--data", server.database.path])
                #expect(again.status == 70 && again.errors.contains("is there already"))
                let inUse = try ServerProcess.run(
                    ["restore", path("copy.db"), "--force", "--data", server.database.path])
                #expect(inUse.status == 70 && inUse.errors.contains("is in use by process \(server.pid)"))
                let client = try RawClient.connected(server)
                try client.send(#"{"type":"subscribe","id":"s","pattern":"k:*"}"#)
                cursor = try client.receive(type: "synced").string("cursor") ?? ""
                server.terminate()
                _ = server.wait()
            }
            let database = path("starling.db")
            #expect(try ServerProcess.run(["restore", path("copy.db"), "--data", database]).status == 70)
            #expect(try ServerProcess.run(["restore", path("copy.db"), "--force", "--data", database]).status == 0)
            #expect(FileManager.default.fileExists(atPath: database + ".before-restore"))
            let server = try ServerProcess(in: folder)
            let client = try RawClient.connected(server)
            try client.send(#"{"type":"subscribe","id":"s","pattern":"k:*","since":"\#(cursor)"}"#)
            #expect(try client.receive(type: "subscribed").bool("replace") == true)
            #expect(try client.receive(type: "synced").integer("count") == 499)
        }

        @Test("Every database that a restore puts aside is kept, however often that is done")
        func putAside() throws {
            defer { try? FileManager.default.removeItem(at: folder) }
            let database = path("starling.db")
            func make(_ name: String) throws {
                let line = #"{"key":"\#(name)","value":1}"# + "\n"
                #expect(try ServerProcess.run(["import", "--data", path(name)], input: line).status == 0)
            }
            for name in ["starling.db", "wrong.db", "right.db"] { try make(name) }
            for name in ["wrong.db", "right.db"] {
                let restored = try ServerProcess.run(["restore", path(name), "--force", "--data", database])
                #expect(restored.status == 0 && restored.output.contains("is kept as \(database).before-restore"))
            }
            func keys(_ file: String) throws -> String { try ServerProcess.run(["export", "--data", file]).output }
            #expect(try keys(database + ".before-restore").contains(#""key":"starling.db""#))
            #expect(try keys(database + ".before-restore-2").contains(#""key":"wrong.db""#))
            #expect(try keys(database).contains(#""key":"right.db""#))
        }

        @Test("What is damaged is not backed up as if it were whole, and leaves no file behind")
        func damagedSource() throws {
            defer { try? FileManager.default.removeItem(at: folder) }
            let lines = (0..<200).map { #"{"key":"k:\#($0)","value":"\#(String(repeating: "v", count: 1_500))"}"# }
            let database = path("a.db")
            for part in stride(from: 0, to: 200, by: 40) {
                let input = lines[part..<(part + 40)].joined(separator: "\n") + "\n"
                #expect(try ServerProcess.run(["import", "--data", database], input: input).status == 0)
            }
            let file = open(database, O_RDWR)
            let pages = lseek(file, 0, SEEK_END) / 4_096
            let garbage = [UInt8](repeating: 0xA5, count: 4_096)
            _ = garbage.withUnsafeBytes { pwrite(file, $0.baseAddress, $0.count, pages / 2 * 4_096) }
            close(file)
            let backup = try ServerProcess.run(["backup", path("copy.db"), "--data", database])
            #expect(backup.status == 70 && backup.errors.contains("damaged"))
            let left = try FileManager.default.contentsOfDirectory(atPath: folder.path).filter { $0.hasPrefix("copy") }
            #expect(left == [])
        }

        @Test(
            "What is in a database that Starling did not put there, and what is missing, is said by check",
            arguments: [
                "CREATE TRIGGER t AFTER INSERT ON register BEGIN DELETE FROM meta; END", "CREATE TABLE t (a)",
                "CREATE VIEW v AS SELECT 1", "DROP INDEX register_key", "DROP INDEX register_expiry",
                "DROP INDEX register_key; CREATE INDEX register_key ON register (version)",
                "UPDATE meta SET value = 'ffffffffffffffff' WHERE name = 'clock_bound'",
                "UPDATE meta SET value = 'soon' WHERE name = 'clock_bound'",
                "INSERT OR REPLACE INTO meta VALUES ('collected_fence', '18446744073709551615')",
                "DELETE FROM meta WHERE name = 'epoch'", "UPDATE register SET revision = -5",
                "UPDATE register SET lease = 7", "UPDATE register SET cause = 'evil'",
                "UPDATE register SET key = CAST(x'61ff62' AS TEXT)", "UPDATE register SET metadata = '{'",
                "UPDATE register SET revision = 4611686018427387903", "DELETE FROM log", "UPDATE log SET id = id + 1",
                "INSERT INTO log VALUES (4611686018427387903, 1)", "UPDATE register SET id = id + 1000",
                "UPDATE register SET fence = 4611686018427387903",
                "INSERT OR REPLACE INTO meta VALUES ('collected_fence', '4611686018427387903')",
                "INSERT OR REPLACE INTO meta VALUES ('collected_revision', '4611686018427387903')",
            ])
        func foreignContent(sql: String) throws {
            defer { try? FileManager.default.removeItem(at: folder) }
            let database = path("a.db")
            let line = #"{"key":"a","value":1}"# + "\n"
            #expect(try ServerProcess.run(["import", "--data", database], input: line).status == 0)
            #expect(try ServerProcess.run(["check", "--data", database]).status == 0)
            let shell = try ServerProcess.run(["sqlite3", database, sql], program: URL(filePath: "/usr/bin/env"))
            #expect(shell.status == 0, "\(shell)")
            let checked = try ServerProcess.run(["check", "--data", database])
            #expect(checked.status == 1, "\(checked)")
        }

        @Test(
            "No server starts on tables that were altered, and one does beside what somebody else keeps there",
            arguments: [
                ("CREATE TRIGGER t AFTER INSERT ON register BEGIN DELETE FROM meta; END", false),
                ("CREATE TRIGGER t AFTER INSERT ON meta BEGIN DELETE FROM register; END", false),
                ("DROP INDEX register_key", false),
                (
                    "PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = replace(sql, 'key TEXT NOT NULL', 'key TEXT NOT NULL COLLATE NOCASE') WHERE name = 'register'",
                    false
                ),
                ("CREATE TABLE mine (a); CREATE VIEW v AS SELECT key FROM register; ANALYZE", true),
            ])
        func alteredTables(sql: String, starts: Bool) throws {
            defer { try? FileManager.default.removeItem(at: folder) }
            let database = path("starling.db")
            let line = #"{"key":"a","value":1}"# + "\n"
            #expect(try ServerProcess.run(["import", "--data", database], input: line).status == 0)
            let shell = try ServerProcess.run(["sqlite3", database, sql], program: URL(filePath: "/usr/bin/env"))
            #expect(shell.status == 0, "\(shell)")
            guard starts else {
                let (status, _, errors) = try ServerProcess.run(["serve", "--port", "0", "--data", database])
                #expect(status == 70 && errors.contains("somebody has altered it"), "\(errors)")
                return
            }
            let server = try ServerProcess(in: folder)
            #expect(try count(server) == 1)
        }

        @Test("A copy that the disk has no room for says so, and leaves nothing behind")
        func noRoom() throws {
            defer { try? FileManager.default.removeItem(at: folder) }
            let lines = (0..<500).map { #"{"key":"k:\#($0)","value":"\#(String(repeating: "v", count: 500))"}"# }
            let database = path("a.db")
            let input = lines.joined(separator: "\n") + "\n"
            #expect(try ServerProcess.run(["import", "--data", database], input: input).status == 0)
            #expect(try ServerProcess.run(["backup", path("whole.db"), "--data", database]).status == 0)
            for command in [
                "backup '\(path("b.db"))' --data '\(database)'",
                "restore '\(path("whole.db"))' --data '\(path("c.db"))'",
            ] {
                // A limit on the size of files is the disk that everybody has.
                let limited = "trap '' XFSZ; ulimit -f 100; exec '\(ServerProcess.binary.path)' \(command)"
                let (status, _, errors) = try ServerProcess.run(
                    ["bash", "-c", limited], program: URL(filePath: "/usr/bin/env"))
                #expect(status == 70 && errors.contains("cannot") && !errors.contains("not an error"), "\(errors)")
            }
            let left = try FileManager.default.contentsOfDirectory(atPath: folder.path)
            #expect(!left.contains { $0.hasPrefix("b.db") || $0 == "c.db" || $0.hasPrefix("c.db.p") }, "\(left)")
        }

        @Test("An import says what it cannot take, and takes nothing for something else")
        func badImports() throws {
            defer { try? FileManager.default.removeItem(at: folder) }
            func importing(_ line: String) throws -> (status: Int32, output: String, errors: String) {
                try ServerProcess.run(["import", "--data", path("a.db")], input: line + "\n")
            }
            let directory = try ServerProcess.run(["import", folder.path, "--data", path("a.db")])
            #expect(directory.status == 70 && directory.errors.contains("is a folder"))
            #expect(try importing(#"{"key":"k","value":1,"expires_at":1000}"#).errors.contains("no \"version\""))
            #expect(try importing(#"{"key":"k","value":1,"timestamp":1000}"#).errors.contains("no \"version\""))
            #expect(try importing(#"{"key":"k","value":1,"value":2}"#).errors.contains("\"value\" twice"))
            #expect(try importing(#"{"key":"k","value":1,"deleted":true}"#).errors.contains("and \"deleted\""))
            #expect(try importing("nonsense").errors.contains("no JSON object"))
            let version = #""version":"018bcfe56800-0000-a""#
            for line in [
                #"{"key":"k","value":1,\#(version),"cause":"expired"}"#,
                #"{"key":"k","value":1,\#(version),"expires_at":-5}"#,
                #"{"key":"k","value":1,\#(version),"expires_at":18446744073709551615}"#,
                #"{"key":"k","deleted":true,"ttl":5}"#, #"{"key":"k","value":1,"metadata":5}"#,
                #"{"key":"k","value":1,"session":""}"#,
            ] {
                let (status, _, errors) = try importing(line)
                #expect(status == 70 && errors.contains("line 1 is no register"), "\(line): \(errors)")
            }
            #expect(try importing(#"{"key":"k","value":1,"version":"ffffffffffff-fffe-zzz"}"#).status == 1)
            #expect(try ServerProcess.run(["export", "--data", path("a.db")]).output == "")
            let blank = try importing("\n" + #"{"key":"short","value":1,"ttl":1000}"# + "\n")
            #expect(blank.output.hasPrefix("1 register: 1 applied"))
            #expect(try ServerProcess.run(["export", "--data", path("a.db")]).output.contains("\"expires_at\":"))
            let foreign = path("app.db")
            for table in ["users", "register"] {
                let made = try ServerProcess.run(
                    ["sqlite3", foreign, "CREATE TABLE IF NOT EXISTS \(table) (id INTEGER)"],
                    program: URL(filePath: "/usr/bin/env"))
                #expect(made.status == 0)
                let line = #"{"key":"k","value":1}"# + "\n"
                let refused = try ServerProcess.run(["import", "--data", foreign], input: line)
                #expect(refused.status == 70 && refused.errors.contains("no database of starling's"))
                #expect(try ServerProcess.run(["serve", "--port", "0", "--data", foreign]).status == 70)
            }
        }

        @Test("Output that cannot be written is a sentence and an exit code", arguments: ["export", "keys", "get"])
        func fullOutput(command: String) throws {
            defer { try? FileManager.default.removeItem(at: folder) }
            let server = try ServerProcess(in: folder)
            try fill(server, 0..<5)
            var arguments = [command]
            if command == "export" {
                arguments += ["--data", server.database.path]
            } else {
                arguments += ["--url", server.url]
            }
            if command == "get" { arguments.append("k:1") }
            let shell = arguments.map { "'\($0)'" }.joined(separator: " ")
            let result = try ServerProcess.run(
                ["sh", "-c", "'\(ServerProcess.binary.path)' \(shell) > /dev/full"],
                program: URL(filePath: "/usr/bin/env"))
            #expect(result.status == 70)
            #expect(result.errors == "starling: cannot write the output: No space left on device\n")
        }

        @Test("A damaged backup is not restored, and what is no database is said to be none")
        func damaged() throws {
            defer { try? FileManager.default.removeItem(at: folder) }
            try Data("no database, but long enough to be taken for one by its length alone".utf8)
                .write(to: folder.appending(path: "text.db"))
            #expect(try ServerProcess.run(["check", "--data", path("text.db")]).status == 70)
            #expect(try ServerProcess.run(["restore", path("text.db"), "--data", path("new.db")]).status == 70)
            #expect(try ServerProcess.run(["restore", path("none.db"), "--data", path("new.db")]).status == 70)
            #expect(!FileManager.default.fileExists(atPath: path("new.db")))
        }

        @Test("An export imports into another database as it was; twice changes nothing, and what is newer stays")
        func exportAndImport() throws {
            defer { try? FileManager.default.removeItem(at: folder) }
            let server = try ServerProcess(in: folder)
            try fill(server, 0..<50)
            let lines = try ServerProcess.run(["export", "--data", server.database.path]).output
            #expect(lines.split(separator: "\n").count == 50)
            try lines.write(toFile: path("all.jsonl"), atomically: true, encoding: .utf8)
            let first = try ServerProcess.run(["import", path("all.jsonl"), "--data", path("b.db")])
            #expect(first.output == "50 registers: 50 applied, 0 there already, 0 older than what is there\n")
            let second = try ServerProcess.run(["import", "--data", path("b.db")], input: lines)
            #expect(second.output == "50 registers: 0 applied, 50 there already, 0 older than what is there\n")
            #expect(try ServerProcess.run(["verify", server.url, path("b.db"), "--settle", "0"]).status == 0)
            let newer =
                #"{"key":"k:1","value":"newer"}"# + "\n" + #"{"key":"k:1","value":0,"version":"000000000001-0000-a"}"#
            let third = try ServerProcess.run(["import", "--data", path("b.db")], input: newer + "\n")
            #expect(third.output == "2 registers: 1 applied, 0 there already, 1 older than what is there\n")
            let values = try ServerProcess.run(
                ["export", "--data", path("b.db"), "--values-only", "--pattern", "k:1"])
            #expect(values.output.contains("newer"))
            let bad = try ServerProcess.run(["import", "--data", path("b.db")], input: newer + "\nnonsense\n")
            #expect(bad.status == 70 && bad.errors.contains("line 3 is no register"))
            let busy = try ServerProcess.run(["import", "--data", server.database.path], input: lines)
            #expect(busy.status == 70 && busy.errors.contains("is in use"))
        }

        @Test("verify names the keys in which two servers differ, among thousands, and only those")
        func verify() throws {
            defer { try? FileManager.default.removeItem(at: folder) }
            let left = try ServerProcess(in: folder)
            try fill(left, 0..<3_500)
            #expect(try ServerProcess.run(["backup", path("copy.db"), "--data", left.database.path]).status == 0)
            let other = try ServerProcess.makeFolder()
            defer { try? FileManager.default.removeItem(at: other) }
            let database = other.appending(path: "starling.db").path
            #expect(try ServerProcess.run(["restore", path("copy.db"), "--data", database]).status == 0)
            let right = try ServerProcess(in: other)
            #expect(try count(left) == count(right))
            func verify(_ a: String, _ b: String) throws -> (status: Int32, keys: [String]) {
                let result = try ServerProcess.run(["verify", a, b, "--settle", "0"])
                let keys = result.output.split(separator: "\n").map { String($0.prefix { $0 != "\t" }) }
                return (result.status, keys)
            }
            #expect(try verify(left.url, right.url) == (0, []))
            try fill(right, [7, 2_000, 99_999], value: 2)
            try fill(left, [88_888, 1_234], value: 3)
            let wanted = ["k:1234", "k:2000", "k:7", "k:88888"]
            #expect(try verify(left.url, right.url) == (1, wanted))
            #expect(try verify(right.url, left.url) == (1, wanted))
            #expect(try verify(left.url, path("copy.db")) == (1, ["k:1234", "k:88888"]))
            #expect(try ServerProcess.run(["verify", left.url, "ws://127.0.0.1:1/sync"]).status == 69)
            #expect(try ServerProcess.run(["verify", left.url, path("none.db")]).status == 70)
            #expect(try ServerProcess.run(["verify", left.url, right.url, "--pattern", "***"]).status == 64)
        }

        @Test("What is exported is imported as it was, whatever is between the tokens of its values, a register a line")
        func lineBreaks() throws {
            defer { try? FileManager.default.removeItem(at: folder) }
            let server = try ServerProcess(in: folder)
            let client = try RawClient.connected(server)
            let values = ["{\n  \"a\": 1,\r\n\t\"b\": [\n]\n}", "[1,\r2]", "\"\\n\"", "1 ", "\"\u{2028}\""]
            for (index, value) in values.enumerated() {
                try client.send(
                    #"{"type":"broadcast","id":1,"key":"k:\#(index)","metadata":{\#("\n")"m":1},"value":\#(value)}"#)
                _ = try client.receive(type: "ack")
            }
            let exported = try ServerProcess.run(["export", "--data", server.database.path]).output
            #expect(exported.split(whereSeparator: { $0 == "\n" || $0 == "\r\n" || $0 == "\r" }).count == values.count)
            for line in exported.split(separator: "\n") {
                #expect(throws: Never.self) { try JSONSerialization.jsonObject(with: Data(line.utf8)) }
            }
            let imported = try ServerProcess.run(["import", "--data", path("new.db")], input: exported)
            #expect(imported.status == 0 && imported.output.contains("5 applied"), "\(imported)")
            #expect(try ServerProcess.run(["export", "--data", path("new.db")]).output == exported)
            #expect(try ServerProcess.run(["verify", server.url, path("new.db")]).status == 0)
            for command in [["keys", "--json"], ["sub", "--json", "--once", "k:*"], ["sub", "--once", "k:*"]] {
                let lines = try ServerProcess.run(command + ["--url", server.url]).output.split(
                    whereSeparator: { $0 == "\n" || $0 == "\r\n" || $0 == "\r" })
                #expect(lines.count >= 5 && lines.count <= 8, "\(command): \(lines)")
            }
        }

        @Test(
            "Import takes what earlier versions wrote, a byte order mark and blank lines, and says which line is none")
        func importLeniently() throws {
            defer { try? FileManager.default.removeItem(at: folder) }
            func run(_ text: String) throws -> (status: Int32, output: String, errors: String) {
                try ServerProcess.run(["import", "--data", path("\(UUID().uuidString).db")], input: text)
            }
            let old = "{\"key\":\"a\",\"value\":{\n  \"x\": \"}\"\n}}\n{\"key\":\"b\",\"value\":1}\n"
            #expect(try run(old).output.hasPrefix("2 registers: 2 applied"))
            #expect(try run("\u{FEFF}\n \r\n\(old)\r\n\n").output.hasPrefix("2 registers: 2 applied"))
            for (text, line) in [
                ("\(old){\"key\":\"c\",\"value\":1}}\n", 5), ("\(old)\n\n{\"key\":\"c\",\"value\":\n", 7), ("[1]\n", 1),
                ("\(old){\"key\":\"c\",\"value\":1,\"value_text\":\"{\"}\n", 5),
                ("{\"key\":\"\\ud83d\",\"value\":1}\n", 1),
            ] {
                let (status, _, errors) = try run(text)
                #expect(status == 70 && errors.contains("line \(line) is no register"), "\(text): \(errors)")
            }
            try Data([UInt8]("{\"key\":\"a\",\"value\":\"".utf8) + [0xFF] + [UInt8]("\"}\n".utf8)).write(
                to: folder.appending(path: "bytes"))
            let bytes = try ServerProcess.run(["import", path("bytes"), "--data", path("x.db")])
            #expect(bytes.status == 70 && bytes.errors.contains("line 1") && bytes.errors.contains("UTF-8"), "\(bytes)")
        }
    }
}
