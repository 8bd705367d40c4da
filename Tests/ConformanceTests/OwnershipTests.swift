import Foundation
import SyncProtocol
import Testing

extension ConformanceTests {
    /// One database, one owner, whatever it is called and whatever happens to its files.
    struct OwnershipTests {
        private let folder: URL
        private let files = FileManager.default

        init() throws { folder = try ServerProcess.makeFolder() }

        private func path(_ name: String) -> String { folder.appending(path: name).path }

        private func write(_ key: String, to server: ServerProcess) throws -> JSONObject {
            let client = try RawClient.connected(server)
            try client.send(#"{"type":"broadcast","id":1,"key":"\#(key)","value":1}"#)
            return try client.receive()
        }

        /// Each command that wants a database to itself, on `name`.
        private func expectRefusals(of name: String) throws {
            try "{\"key\":\"x\",\"value\":1}\n".write(toFile: path("lines"), atomically: true, encoding: .utf8)
            for command in [
                ["serve", "--port", "0", "--data", path(name)], ["import", path("lines"), "--data", path(name)],
                ["restore", path("copy.db"), "--force", "--data", path(name)],
            ] {
                let (status, _, errors) = try ServerProcess.run(command)
                #expect(status == 70 && errors.contains("is in use by"), "\(command[0]) \(name): \(errors)")
            }
        }

        @Test("A database in use is in use under every name: links, other paths, and with its lock file removed")
        func names() throws {
            defer { try? files.removeItem(at: folder) }
            let server = try ServerProcess(in: folder)
            #expect(try write("a", to: server).string("type") == "ack")
            #expect(try ServerProcess.run(["backup", path("copy.db"), "--data", server.database.path]).status == 0)
            try files.createSymbolicLink(atPath: path("link.db"), withDestinationPath: server.database.path)
            try files.createSymbolicLink(atPath: path("relative.db"), withDestinationPath: "link.db")
            try files.linkItem(atPath: server.database.path, toPath: path("hard.db"))
            for name in ["starling.db", "link.db", "relative.db", "./starling.db", "hard.db"] {
                try expectRefusals(of: name)
            }
            try files.removeItem(atPath: server.database.path + ".lock")
            for name in ["starling.db", "link.db", "hard.db"] { try expectRefusals(of: name) }
            #expect(try write("b", to: server).string("type") == "ack")
            #expect(
                try ServerProcess.run(["export", "--data", path("link.db")]).output.split(separator: "\n").count == 2)
        }

        @Test("A log that is left of a database that is gone is none of the restored one: it is put aside")
        func leftLog() throws {
            defer { try? files.removeItem(at: folder) }
            let server = try ServerProcess(in: folder)
            #expect(try write("a", to: server).string("type") == "ack")
            #expect(try ServerProcess.run(["backup", path("copy.db"), "--data", server.database.path]).status == 0)
            for number in 0..<50 { _ = try write("later:\(number)", to: server) }
            server.killHard()
            try files.removeItem(at: server.database)
            let restored = try ServerProcess.run(["restore", path("copy.db"), "--data", server.database.path])
            #expect(restored.status == 0 && restored.output.contains("1 values"), "\(restored)")
            #expect(files.fileExists(atPath: server.database.path + ".before-restore-wal"))
            #expect(try ServerProcess.run(["check", "--data", server.database.path]).status == 0)
        }

        @Test("A log that is cut short under a server is noticed before the next write is acknowledged")
        func cutShort() throws {
            defer { try? files.removeItem(at: folder) }
            let server = try ServerProcess(in: folder)
            for number in 0..<5 { #expect(try write("k:\(number)", to: server).string("type") == "ack") }
            #expect(truncate(server.database.path + "-wal", 0) == 0)
            #expect(try write("lost", to: server).string("type") == "error")
            #expect(try HTTP.get("/readyz", server).contains("cut short"))
        }

        @Test(
            "A database that was not closed and has no log beside it begins a new epoch, and the log of the server says why"
        )
        func missingLog() throws {
            defer { try? files.removeItem(at: folder) }
            let server = try ServerProcess(in: folder)
            #expect(try write("a", to: server).string("type") == "ack")
            // A copy that says that it is open: of the database alone, after a checkpoint.
            _ = try ServerProcess.run(
                ["sqlite3", server.database.path, "PRAGMA wal_checkpoint"], program: URL(filePath: "/usr/bin/env"))
            server.killHard()
            try files.createDirectory(atPath: path("other"), withIntermediateDirectories: true)
            try files.copyItem(atPath: server.database.path, toPath: path("other/starling.db"))
            let other = try ServerProcess(in: folder.appending(path: "other"))
            let log = try String(contentsOf: folder.appending(path: "other/server.log"), encoding: .utf8)
            #expect(log.contains("is not beside it") && log.contains("Starting a new epoch"))
            #expect(try write("b", to: other).string("type") == "ack")
        }

        @Test("A server over a link is one over what it leads to, and a restore leaves the link what it is")
        func links() throws {
            defer { try? files.removeItem(at: folder) }
            try files.createDirectory(atPath: path("disk"), withIntermediateDirectories: true)
            try files.createSymbolicLink(atPath: path("starling.db"), withDestinationPath: path("disk/real.db"))
            do {
                let server = try ServerProcess(in: folder)
                #expect(try write("a", to: server).string("type") == "ack")
                #expect(try ServerProcess.run(["backup", path("copy.db"), "--data", path("disk/real.db")]).status == 0)
                try expectRefusals(of: "disk/real.db")
                server.terminate()
                #expect(server.wait() == 0)
            }
            #expect(try files.contentsOfDirectory(atPath: path("disk")).sorted() == ["real.db", "real.db.lock"])
            let restored = try ServerProcess.run(
                ["restore", path("copy.db"), "--force", "--data", path("starling.db")])
            #expect(
                restored.status == 0 && files.fileExists(atPath: path("disk/real.db.before-restore")), "\(restored)")
            #expect(try files.destinationOfSymbolicLink(atPath: path("starling.db")) == path("disk/real.db"))
        }

        @Test("A database with two names is not opened: changes under one would be lost under the other")
        func hardLinks() throws {
            defer { try? files.removeItem(at: folder) }
            #expect(
                try ServerProcess.run(["import", "--data", path("a.db")], input: "{\"key\":\"a\",\"value\":1}\n").status
                    == 0)
            try files.linkItem(atPath: path("a.db"), toPath: path("b.db"))
            let (status, _, errors) = try ServerProcess.run(["serve", "--port", "0", "--data", path("b.db")])
            #expect(status == 70 && errors.contains("2 names"), "\(errors)")
        }

        @Test(
            "A server whose file is replaced or removed acknowledges nothing, says so, and goes on when the file is back",
            arguments: ["starling.db", "starling.db-wal", "starling.db-shm"])
        func replaced(name: String) throws {
            defer { try? files.removeItem(at: folder) }
            let server = try ServerProcess(in: folder)
            #expect(try write("a", to: server).string("type") == "ack")
            let aside = path("aside")
            try files.moveItem(atPath: path(name), toPath: aside)
            for _ in 0..<2 {
                let answer = try write("b", to: server)
                #expect(answer.string("type") == "error" && answer.string("message")?.contains("replaced") == true)
            }
            // Nobody is left without an answer: nothing was committed that could not be told.
            let reader = try RawClient.connected(server)
            try reader.send(#"{"type":"get","id":1,"key":"a"}"#)
            _ = try reader.receive()
            try reader.send(#"{"type":"ping","id":2}"#)
            _ = try reader.receive(type: "pong")
            #expect(try HTTP.get("/readyz", server).contains("was replaced or removed"))
            try Data("something else".utf8).write(to: URL(filePath: path(name)))
            #expect(try write("c", to: server).string("type") == "error")
            try files.removeItem(atPath: path(name))
            try files.moveItem(atPath: aside, toPath: path(name))
            try ServerProcess.until { try HTTP.get("/readyz", server).hasSuffix("\r\n\r\nready\n") ? true : nil }
            #expect(try write("d", to: server).string("type") == "ack")
            server.terminate()
            #expect(server.wait() == 0)
            let exported = try ServerProcess.run(["export", "--data", server.database.path]).output
            #expect(exported.contains("\"key\":\"a\"") && exported.contains("\"key\":\"d\""))
        }

        @Test(
            "A database that is found without the log of a crash begins a new epoch: what it lacks was promised",
            arguments: ["copied", "removed while it runs", "crashed at once"])
        func missingLog(how: String) throws {
            defer { try? files.removeItem(at: folder) }
            do {
                // Closed as it should be: that is what it says of itself.
                let server = try ServerProcess(in: folder)
                #expect(try write("a", to: server).string("type") == "ack")
                server.terminate()
                #expect(server.wait() == 0)
            }
            let server = try ServerProcess(in: folder)
            let epoch = try epoch(of: server)
            if how != "crashed at once" { #expect(try write("b", to: server).string("type") == "ack") }
            if how == "removed while it runs" {
                try files.removeItem(atPath: path("starling.db-wal"))
                server.terminate()
                #expect(server.wait() == 70)
            } else {
                server.killHard()
                try files.removeItem(atPath: path("starling.db-wal"))
            }
            let again = try ServerProcess(in: folder)
            #expect(try self.epoch(of: again) != epoch)
        }

        private func epoch(of server: ServerProcess) throws -> String? {
            let client = try RawClient(port: server.port)
            try client.shakeHands()
            return try client.receive(type: "welcome").string("epoch")
        }

        @Test(
            "A file that is cut short under the server ends no process, and who asks is answered",
            arguments: ["-shm", "-wal", ""])
        func cutShort(suffix: String) throws {
            defer { try? files.removeItem(at: folder) }
            let server = try ServerProcess(in: folder)
            #expect(try write("a", to: server).string("type") == "ack")
            // Once the index of a search is complete nobody reads the file, in which a reader that is in the middle of it would be cut off too.
            try ServerProcess.until {
                let client = try RawClient.connected(server)
                try client.send(#"{"type":"search","id":1,"query":"a"}"#)
                return try client.receive(type: "results").bool("complete") == true ? true : nil
            }
            truncate(path("starling.db" + suffix), 0)
            for _ in 0..<3 {
                let client = try RawClient.connected(server)
                try client.send(#"{"type":"get","id":1,"key":"a"}"#)
                _ = try client.receive()
                #expect(try write("b", to: server).string("type") == "error")
            }
        }

        @Test("A server that nobody writes to notices too that its file is gone, and that it is back")
        func idle() throws {
            defer { try? files.removeItem(at: folder) }
            let server = try ServerProcess(in: folder)
            _ = try write("a", to: server)
            // Once might be noticed by what is done in the first seconds only.
            for _ in 0..<2 {
                try files.moveItem(atPath: path("starling.db"), toPath: path("aside"))
                _ = try ServerProcess.until {
                    try HTTP.get("/readyz", server).contains("was replaced or removed") ? true : nil
                }
                try files.moveItem(atPath: path("aside"), toPath: path("starling.db"))
                _ = try ServerProcess.until {
                    try HTTP.get("/readyz", server).hasSuffix("\r\n\r\nready\n") ? true : nil
                }
            }
        }

        @Test("A log without its database is not taken for a leftover, and a clean stop leaves none")
        func orphanedLog() throws {
            defer { try? files.removeItem(at: folder) }
            do {
                let server = try ServerProcess(in: folder)
                #expect(try write("a", to: server).string("type") == "ack")
                server.killHard()
            }
            try files.moveItem(atPath: path("starling.db"), toPath: path("moved.db"))
            let (status, _, errors) = try ServerProcess.run(["serve", "--port", "0", "--data", path("starling.db")])
            #expect(status == 70 && errors.contains("starling.db-wal has changes"), "\(errors)")
            try files.moveItem(atPath: path("moved.db"), toPath: path("starling.db"))
            let again = try ServerProcess(in: folder)
            #expect(try ServerProcess.run(["get", "a", "--url", again.url]).output == "1\n")
            again.terminate()
            #expect(again.wait() == 0)
            for suffix in ["-wal", "-shm"] { #expect(!files.fileExists(atPath: path("starling.db" + suffix))) }
        }
    }
}
