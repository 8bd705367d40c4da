import Foundation
import SyncProtocol
import TestSupport
import Testing

extension ConformanceTests {
    /// Values encrypted where they are stored, by the server and the commands that read its file.
    struct EncryptionTests {
        let folder: URL
        let server: ServerProcess
        private var keys: String { folder.appending(path: "keys").path }
        var options: [String] { ["--encryption-key-file", keys] }

        init() throws {
            folder = try ServerProcess.makeFolder()
            let keys = folder.appending(path: "keys").path
            let (status, _, errors) = try ServerProcess.run(
                ["rekey", "--encryption-key-file", keys, "--data", folder.appending(path: "starling.db").path])
            guard status == 0 else { throw TestFailure(errors) }
            server = try ServerProcess(in: folder, ["--encryption-key-file", keys])
        }

        private func write(_ key: String, _ value: String, _ more: String = "") throws {
            let client = try RawClient.connected(server)
            try client.send(#"{"type":"broadcast","id":1,"key":"\#(key)","value":"\#(value)"\#(more)}"#)
            _ = try client.receive(type: "ack")
        }

        func run(_ command: String..., keyed: Bool = true) throws -> (
            status: Int32, output: String, errors: String
        ) {
            try ServerProcess.run(command + ["--data", server.database.path] + (keyed ? options : []))
        }

        /// Everything that is in the database's files.
        private func bytes() throws -> String {
            try ["starling.db", "starling.db-wal"].map { name in
                let file = folder.appending(path: name)
                guard FileManager.default.fileExists(atPath: file.path) else { return "" }
                return String(decoding: try Data(contentsOf: file), as: UTF8.self)
            }.joined()
        }

        func query(_ sql: String) throws -> String {
            try ServerProcess.run(["sqlite3", server.database.path, sql], program: URL(filePath: "/usr/bin/env"))
                .output.trimmingCharacters(in: .whitespacesAndNewlines)
        }

        @Test(
            "Neither values nor metadata are in the files; every way to read gives them, with the keys and not without")
        func hidden() throws {
            try write("a:1", "SECRET-ONE", #","metadata":{"m":"SECRET-TWO"}"#)
            try write("a:2", "SECRET-THREE", #","ttl":600"#)
            let found = try bytes()
            #expect(!found.contains("SECRET") && found.contains("a:1"))
            let client = try RawClient.connected(server)
            try client.send(#"{"type":"list","id":1}"#)
            let listed = try client.receive(type: "registers")
            let texts = listed.array("registers")?.map { String(decoding: $0, as: UTF8.self) } ?? []
            #expect(texts.count == 2 && texts[0].contains("SECRET-ONE") && texts[0].contains("SECRET-TWO"))
            #expect(try run("export").output.contains("SECRET-THREE"))
            #expect(try run("check").output.contains("ok"))
            let without = try run("export", keyed: false)
            #expect(without.status == 70 && without.errors.contains("--encryption-key-file"))
            // A backup stays encrypted.
            let copy = folder.appending(path: "copy.db").path
            #expect(try ServerProcess.run(["backup", copy, "--data", server.database.path]).status == 0)
            #expect(!String(decoding: try Data(contentsOf: URL(filePath: copy)), as: UTF8.self).contains("SECRET"))
            #expect(try ServerProcess.run(["verify", server.url, copy] + options).status == 0)
        }

        @Test("A server without the keys does not start on the database, and says what it wants")
        func missing() throws {
            try write("a", "x")
            server.terminate()
            _ = server.wait()
            for arguments in [[], ["--encryption-key-file", folder.appending(path: "others").path]] {
                if !arguments.isEmpty {
                    _ = try ServerProcess.run(["rekey", "--data", folder.appending(path: "no.db").path] + arguments)
                }
                let (status, _, errors) = try ServerProcess.run(
                    ["serve", "--port", "0", "--data", server.database.path] + arguments)
                #expect(status == 70 && errors.contains("encrypted with"), "\(errors)")
            }
            let again = try ServerProcess(in: folder, options)
            let client = try RawClient.connected(again)
            try client.send(#"{"type":"get","id":1,"key":"a"}"#)
            #expect(try client.receive(type: "register").string("value") == "x")
        }

        @Test(
            "Keys are rotated while the server runs: nothing is told, no revision changes, and the old key is not needed after it"
        )
        func rotation() throws {
            for number in 0..<1_500 { try write("k:\(number % 700)", "value-\(number)") }
            let client = try RawClient.connected(server)
            try client.send(#"{"type":"subscribe","id":"s","pattern":"*"}"#)
            let before = try client.receive(type: "synced").string("cursor")
            let old = try String(contentsOfFile: keys, encoding: .utf8)
            let rekeyed = try run("rekey")
            #expect(rekeyed.status == 0 && rekeyed.output.contains("all 700 registers"), "\(rekeyed)")
            try client.send(#"{"type":"ping","id":1}"#)
            guard case .message(let answer) = try client.next() else { throw TestFailure("no answer") }
            #expect(answer.contains("pong"), "the rekeying was told: \(answer)")
            #expect(try query("SELECT count(DISTINCT key_id) FROM register") == "1")
            let digest = try run("export").output
            server.terminate()
            _ = server.wait()
            let all = try String(contentsOfFile: keys, encoding: .utf8)
            try all.replacing(old, with: "").write(toFile: keys, atomically: true, encoding: .utf8)
            let again = try ServerProcess(in: folder, options)
            #expect(try run("export").output == digest)
            let resumed = try RawClient.connected(again)
            try resumed.send(#"{"type":"subscribe","id":"s","pattern":"*","since":"\#(before ?? "")"}"#)
            #expect(try resumed.receive(type: "synced").integer("count") == 0)
        }

        @Test("A key file without a key that values need is not taken, and the server goes on with the one it has")
        func incomplete() throws {
            try write("a", "x")
            let good = try String(contentsOfFile: keys, encoding: .utf8)
            let other = folder.appending(path: "other").path
            _ = try ServerProcess.run(
                ["rekey", "--encryption-key-file", other, "--data", folder.appending(path: "no.db").path])
            try String(contentsOfFile: other, encoding: .utf8).write(toFile: keys, atomically: true, encoding: .utf8)
            let log = folder.appending(path: "server.log")
            try ServerProcess.until {
                try String(contentsOf: log, encoding: .utf8).contains("which is not in") ? true : nil
            }
            try write("b", "y")
            let client = try RawClient.connected(server)
            for (key, value) in [("a", "x"), ("b", "y")] {
                try client.send(#"{"type":"get","id":1,"key":"\#(key)"}"#)
                #expect(try client.receive(type: "register").string("value") == value)
            }
            try good.write(toFile: keys, atomically: true, encoding: .utf8)
            #expect(try run("rekey").status == 0)
        }

        @Test("Keys that are made at the same time are all in the file, and nothing is lost")
        func concurrent() throws {
            for number in 0..<20 { try write("k:\(number)", "v") }
            let rekeys = try ServerProcess.run(
                [
                    "xargs", "-P", "4", "-I{}", ServerProcess.binary.path, "rekey", "--patience", "{}", "--data",
                    server.database.path,
                ]
                    + options, program: URL(filePath: "/usr/bin/env"), input: "3\n3\n3\n3\n")
            // All but the last may see their key overtaken; what they made is there.
            let lines = try String(contentsOfFile: keys, encoding: .utf8).split(separator: "\n")
            #expect(lines.count == 5 && Set(lines).count == 5, "\(rekeys.errors)")
            try ServerProcess.until {
                try query("SELECT count(DISTINCT key_id) FROM register") == "1" ? true : nil
            }
            #expect(try run("export").output.split(separator: "\n").count == 20)
        }

        @Test("A restored backup whose values cannot be looked at says so")
        func restored() throws {
            try write("a", "x")
            let copy = folder.appending(path: "copy.db").path
            #expect(try ServerProcess.run(["backup", copy, "--data", server.database.path]).status == 0)
            let target = folder.appending(path: "restored.db").path
            let without = try ServerProcess.run(["restore", copy, "--data", target])
            #expect(without.status == 0 && without.errors.contains("--encryption-key-file"))
            let with = try ServerProcess.run(["restore", copy, "--data", target, "--force"] + options)
            #expect(with.status == 0 && with.errors == "" && with.output.contains("1 values"))
        }

        @Test("A database that was not encrypted is, once somebody says that it is to be")
        func later() throws {
            let plain = try ServerProcess()
            let client = try RawClient.connected(plain)
            for number in 0..<20 {
                try client.send(#"{"type":"broadcast","id":1,"key":"p:\#(number)","value":"PLAIN-\#(number)"}"#)
                _ = try client.receive(type: "ack")
            }
            plain.terminate()
            _ = plain.wait()
            let copy = folder.appending(path: "later").path
            try FileManager.default.createDirectory(atPath: copy, withIntermediateDirectories: true)
            try FileManager.default.copyItem(atPath: plain.database.path, toPath: copy + "/starling.db")
            // Not by itself: somebody could have put a database in the place of an encrypted one.
            let database = ["--data", copy + "/starling.db"]
            let refused = try ServerProcess.run(["serve", "--port", "0"] + database + options)
            #expect(refused.status == 70 && refused.errors.contains("--encrypt-plain"))
            #expect(try ServerProcess.run(["rekey"] + database + options).status == 70)
            #expect(try ServerProcess.run(["rekey", "--encrypt-plain"] + database + options).status == 0)
            let counted = try ServerProcess.run(
                [
                    "sqlite3", copy + "/starling.db",
                    "SELECT count(*) FROM register WHERE value <> '' OR sealed IS NULL",
                ],
                program: URL(filePath: "/usr/bin/env"))
            #expect(counted.output == "0\n")
            let encrypted = try ServerProcess(in: URL(filePath: copy), options)
            let reader = try RawClient.connected(encrypted)
            try reader.send(#"{"type":"get","id":1,"key":"p:7"}"#)
            #expect(try reader.receive(type: "register").string("value") == "PLAIN-7")
        }

        @Test(
            "A value that was altered, or moved to another row, or put back from an earlier time, is refused, and others are not"
        )
        func altered() throws {
            for key in ["a", "b", "c", "d"] { try write(key, "value of \(key)") }
            let earlier = try query("SELECT hex(sealed) FROM register WHERE key = 'c'")
            try write("c", "a newer one")
            server.terminate()
            _ = server.wait()
            _ = try query("UPDATE register SET sealed = (SELECT sealed FROM register WHERE key = 'b') WHERE key = 'a'")
            _ = try query("UPDATE register SET sealed = x'\(earlier)' WHERE key = 'c'")
            let again = try ServerProcess(in: folder, options)
            let client = try RawClient.connected(again)
            for (key, isGood) in [("a", false), ("b", true), ("c", false), ("d", true)] {
                try client.send(#"{"type":"get","id":1,"key":"\#(key)"}"#)
                let answer = try client.receive()
                #expect(answer.string("type") == (isGood ? "register" : "error"), "\(key): \(answer)")
                if !isGood { #expect(answer.string("message")?.contains("does not decrypt") == true) }
            }
            #expect(try run("check").status == 1)
        }

        @Test(
            "Whatever a row says is bound: a row that was altered or forged in any column is refused, others are not",
            arguments: [
                "value = '1', sealed = NULL, key_id = NULL", "value = '1', sealed = NULL",
                "value = NULL, sealed = NULL", "value = NULL", "expires_at = expires_at + 1", "expires_at = NULL",
                "session = 'other'", "session = NULL", "op = 'other'", "cause = 'expired'", "fence = fence + 1",
                "lease = 1", "lease = NULL", "version = replace(version, '-0000-', '-0001-')", "key = 'moved'",
                "key_id = 'other'", "metadata = '{}', sealed = NULL",
                // What none ever wrote, so that SQL and the seal would see two different rows.
                "lease = 4", "lease = -1", "lease = 9223372036854775807", "cause = 'evil'", "expires_at = -1",
                "fence = -1", "fence = 9223372036854775807", "revision = -5", "revision = 0", "value = '1'",
                "metadata = '{}'",
            ])
        func forged(change: String) throws {
            let more = #","ttl":600,"session":"s","op":"0123456789abcdef","until":"disconnect""#
            let client = try RawClient.connected(server)
            try client.send(#"{"type":"broadcast","id":1,"key":"a","value":1\#(more)}"#)
            _ = try client.receive(type: "ack")
            try write("b", "x")
            server.killHard()
            _ = try query("UPDATE register SET \(change) WHERE key = 'a'")
            let checked = try run("check")
            // One that says so is there as damage; one that is bound to a connection is ended at start, or refused then.
            #expect(checked.status == 1 && checked.errors.split(separator: "\n").count == 1, "\(checked)")
            let again = try ServerProcess(in: folder, options)
            let reader = try RawClient.connected(again)
            for key in ["a", "moved"] {
                try reader.send(#"{"type":"get","id":1,"key":"\#(key)"}"#)
                let answer = try reader.receive()
                #expect(answer.string("type") == "error" || answer.bool("found") == false, "\(answer)")
            }
            // A write over it is answered too, whatever with.
            try reader.send(#"{"type":"broadcast","id":1,"key":"a","value":2}"#)
            _ = try reader.receive()
            try reader.send(#"{"type":"get","id":1,"key":"b"}"#)
            #expect(try reader.receive(type: "register").string("value") == "x")
        }

        @Test("A tombstone cannot be forged either, nor what the database says of its keys")
        func forgedRecord() throws {
            try write("a", "x")
            try write("b", "y")
            server.terminate()
            _ = server.wait()
            let good = try Data(contentsOf: server.database)
            for (sql, isRefused) in [
                (
                    "DELETE FROM meta WHERE name LIKE 'key_check:%'; UPDATE register SET sealed = NULL, value = '1' WHERE key = 'a'",
                    true
                ),
                ("UPDATE meta SET value = value || ' other' WHERE name = 'encryption_keys'", true),
                ("UPDATE meta SET value = 'x' || value WHERE name LIKE 'key_check:%'", true),
                ("DELETE FROM meta WHERE name = 'encryption_keys'", true),
                ("UPDATE register SET sealed = NULL, key_id = NULL, value = NULL WHERE key = 'a'", false),
            ] {
                _ = try query(sql)
                if isRefused {
                    let (status, _, errors) = try ServerProcess.run(
                        ["serve", "--port", "0", "--data", server.database.path] + options)
                    #expect(status == 70, "\(sql): \(errors)")
                } else {
                    #expect(try run("check").status == 1)
                }
                try good.write(to: server.database)
            }
            #expect(try run("check").status == 0)
        }

        @Test("A database that does not vouch for its rows is taken by nobody but who says so, and read with a warning")
        func unvouched() throws {
            try write("a", "x")
            server.terminate()
            _ = server.wait()
            _ = try query("DELETE FROM meta WHERE name LIKE 'key_check:%'")
            let (status, _, errors) = try ServerProcess.run(
                ["serve", "--port", "0", "--data", server.database.path] + options)
            #expect(status == 70 && errors.contains("does not vouch for its rows"), "\(errors)")
            #expect(try run("export").errors.contains("did not vouch for all of a row"))
            #expect(try run("check").status == 1)
            #expect(try run("rekey", "--encrypt-plain").status == 0)
            #expect(try run("check").status == 0)
            #expect(try run("export").errors == "")
        }

        @Test("The row of another database is refused, also under the same key")
        func otherDatabase() throws {
            try write("a", "x")
            let other = folder.appending(path: "other")
            try FileManager.default.createDirectory(at: other, withIntermediateDirectories: true)
            let second = try ServerProcess(in: other, options)
            let client = try RawClient.connected(second)
            try client.send(#"{"type":"broadcast","id":1,"key":"b","value":1}"#)
            _ = try client.receive(type: "ack")
            second.terminate()
            _ = second.wait()
            server.terminate()
            _ = server.wait()
            _ = try query(
                "ATTACH '\(second.database.path)' AS b; UPDATE b.register SET id = 77, revision = 77; INSERT INTO register SELECT * FROM b.register"
            )
            let checked = try run("check")
            #expect(checked.status == 1 && checked.errors.contains("b does not decrypt"), "\(checked)")
        }

        @Test(
            "A revision that none can be is said, and ends nothing else",
            arguments: [
                "UPDATE log SET revision = 9223372036854775807", "UPDATE log SET revision = -5",
                "INSERT OR REPLACE INTO meta VALUES ('collected_revision', '9223372036854775807')",
                "INSERT OR REPLACE INTO meta VALUES ('collected_revision', '-7')",
            ])
        func revisions(sql: String) throws {
            try write("a", "x")
            server.terminate()
            _ = server.wait()
            _ = try query(sql)
            for command in [["serve", "--port", "0"], ["check"]] {
                let (status, output, errors) = try ServerProcess.run(
                    command + ["--data", server.database.path] + options)
                #expect(status == 70 || status == 1, "\(command): \(output)\(errors)")
                #expect(errors.contains("which none can be"), "\(command): \(errors)")
            }
        }

        @Test(
            "A row that was altered keeps no other one from its write, or from its end",
            arguments: ["", ", key_id = 'other'"])
        func others(change: String) throws {
            try write("a", "x")
            server.killHard()
            _ = try query("UPDATE register SET expires_at = 5\(change) WHERE key = 'a'")
            let again = try ServerProcess(in: folder, options)
            let client = try RawClient.connected(again)
            try client.send(#"{"type":"subscribe","id":"s","pattern":"b"}"#)
            _ = try client.receive(type: "synced")
            try client.send(#"{"type":"broadcast","id":1,"key":"b","value":1,"ttl":0.2}"#)
            try client.send(#"{"type":"broadcast","id":2,"key":"a","value":1}"#)
            try client.send(#"{"type":"broadcast","id":3,"key":"c","value":1}"#)
            var answers: [String] = []
            var hasEnded = false
            while answers.count < 3 || !hasEnded {
                let message = try client.receive()
                switch message.string("type") {
                case "ack", "error": answers.append(message.string("type") ?? "")
                case "update": hasEnded = hasEnded || message.bool("deleted") == true
                default: break
                }
            }
            #expect(answers == ["ack", "error", "ack"])
        }

        @Test("A key with the right id and other bytes is refused at start, and kept out while the server runs")
        func wrongBytes() throws {
            try write("a", "x")
            let good = try String(contentsOfFile: keys, encoding: .utf8)
            let id = try #require(good.split(separator: " ").first)
            let wrong = "\(id) \(Data((0..<32).map { _ in UInt8.random(in: .min ... .max) }).base64EncodedString())\n"
            try wrong.write(toFile: keys, atomically: true, encoding: .utf8)
            try ServerProcess.until { try HTTP.get("/readyz", server).contains("is not the one that") ? true : nil }
            #expect(try HTTP.get("/readyz", server).contains("200 OK"))
            try write("b", "y")
            server.terminate()
            _ = server.wait()
            for command in [["serve", "--port", "0"], ["check"], ["export"], ["import"]] {
                let (status, _, errors) = try ServerProcess.run(
                    command + ["--data", server.database.path] + options, input: "")
                #expect(status == 70 && errors.contains("is not the one that"), "\(command): \(errors)")
            }
            try good.write(toFile: keys, atomically: true, encoding: .utf8)
            let again = try ServerProcess(in: folder, options)
            let client = try RawClient.connected(again)
            try client.send(#"{"type":"get","id":1,"key":"b"}"#)
            #expect(try client.receive(type: "register").string("value") == "y")
        }
    }
}
