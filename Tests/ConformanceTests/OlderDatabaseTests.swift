import Foundation
import SyncProtocol
import Testing

extension ConformanceTests {
    /// Databases of earlier versions.
    struct OlderDatabaseTests {
        private let folder: URL

        init() throws { folder = try ServerProcess.makeFolder() }

        private func path(_ name: String) -> String { folder.appending(path: name).path }

        /// Makes of a database what it was before answers were kept, and rows stayed where they are.
        private static let backToVersion4 = """
            DROP TABLE answer;
            DELETE FROM grdb_migrations WHERE identifier LIKE '5:%' OR identifier LIKE '6:%';
            DROP INDEX register_key; DROP INDEX register_expiry; DROP INDEX register_tombstone; DROP INDEX register_lease;
            ALTER TABLE register RENAME TO newer;
            CREATE TABLE register (
                revision INTEGER PRIMARY KEY,
                key TEXT NOT NULL,
                version TEXT NOT NULL,
                value TEXT,
                expires_at INTEGER,
                metadata TEXT,
                session TEXT,
                op TEXT,
                cause TEXT,
                committed_at INTEGER NOT NULL
            , fence INTEGER NOT NULL DEFAULT 0, lease INTEGER, sealed BLOB, key_id TEXT) STRICT;
            INSERT INTO register SELECT revision, key, version, value, expires_at, metadata, session, op, cause, committed_at, fence,
                lease, sealed, key_id FROM newer;
            DROP TABLE newer; DROP TABLE log; DELETE FROM meta WHERE name = 'log_swept';
            CREATE UNIQUE INDEX register_key ON register (key);
            CREATE INDEX register_expiry ON register (expires_at)
                WHERE expires_at IS NOT NULL AND value IS NOT NULL;
            CREATE INDEX register_tombstone ON register (committed_at) WHERE value IS NULL;
            CREATE INDEX register_lease ON register (lease) WHERE lease > 1;
            """

        @Test("A database of an older version is looked at as it is, and brought up to date when it is served")
        func older() throws {
            defer { try? FileManager.default.removeItem(at: folder) }
            let path: String
            do {
                let server = try ServerProcess(in: folder)
                path = server.database.path
                let client = try RawClient.connected(server)
                for key in 0..<3 { try client.send(#"{"type":"broadcast","key":"k:\#(key)","value":1}"#) }
                try client.send(#"{"type":"delete","id":"d","key":"k:2"}"#)
                _ = try client.receive(type: "ack")
                server.terminate()
                #expect(server.wait() == 0)
            }
            func sql(_ text: String) throws -> String {
                try ServerProcess.run(["sqlite3", path, text], program: URL(filePath: "/usr/bin/env")).output
            }
            _ = try sql(Self.backToVersion4)
            #expect(try ServerProcess.run(["check", "--data", path]).status == 0)
            #expect(try ServerProcess.run(["export", "--data", path]).output.split(separator: "\n").count == 3)
            #expect(try ServerProcess.run(["backup", self.path("copy.db"), "--data", path]).status == 0)
            #expect(try sql("SELECT count(*) FROM sqlite_master WHERE name = 'answer'") == "0\n")
            let server = try ServerProcess(in: folder)
            let client = try RawClient.connected(server)
            try client.send(#"{"type":"batch","id":1,"op":"o","writes":[{"key":"k:0","value":2}]}"#)
            #expect(try client.receive(type: "batched").bool("applied") == true)
            #expect(try sql("SELECT op FROM answer") == "o\n")
            #expect(try ServerProcess.run(["check", "--data", path]).status == 0)
            // As it was is what is kept.
            let kept = try ServerProcess.run(["export", "--data", path + ".before-6"])
            #expect(kept.output.split(separator: "\n").count == 3, "\(kept)")
        }

        @Test(
            "A database that is killed while its rows are moved is refused by commands, says why, and is whole after the next start"
        )
        func killedWhileMoving() throws {
            defer { try? FileManager.default.removeItem(at: folder) }
            let database = path("starling.db")
            let value = String(repeating: "v", count: 900_000)
            let lines = (0..<60).map { #"{"key":"k:\#($0)","value":"\#(value)"}"# }.joined(separator: "\n")
            #expect(try ServerProcess.run(["import", "--data", database], input: lines + "\n").status == 0)
            func sql(_ text: String) throws -> String {
                try ServerProcess.run(["sqlite3", database, text], program: URL(filePath: "/usr/bin/env")).output
            }
            _ = try sql(Self.backToVersion4)
            let before = try ServerProcess.run(["export", "--data", database]).output
            /// How many rows are still to be moved.
            func left() throws -> Int {
                let tables = try sql("SELECT name FROM sqlite_master WHERE name IN ('register_by_revision', 'log')")
                guard tables.contains("register_by_revision") else { return tables.contains("log") ? 0 : 60 }
                return Int(try sql("SELECT count(*) FROM register_by_revision").dropLast()) ?? 0
            }
            let nowhere = open("/dev/null", O_RDWR | O_CLOEXEC)
            defer { close(nowhere) }
            var rows = 60
            var kills = 0
            while rows > 0 {
                let child = try ChildProcess(
                    ServerProcess.binary, ["serve", "--port", "0", "--data", database], input: nowhere, output: nowhere,
                    errors: nowhere)
                // Until some more have been moved: at no particular moment of the next portion.
                while try left() == rows {}
                child.kill(SIGKILL)
                _ = child.wait()
                rows = try left()
                guard rows > 0 else { break }
                kills += 1
                let check = try ServerProcess.run(["check", "--data", database])
                #expect(check.status == 70 && check.errors.contains("rows are being moved"), "\(check)")
            }
            #expect(kills > 0, "it was never killed on the way")
            let server = try ServerProcess(in: folder)
            server.terminate()
            #expect(server.wait() == 0)
            #expect(try ServerProcess.run(["export", "--data", database]).output == before)
            #expect(try ServerProcess.run(["check", "--data", database]).status == 0)
        }
    }
}
