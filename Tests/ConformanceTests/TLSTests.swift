import Foundation
import NIOCore
import SyncClient
import SyncProtocol
import TestSupport
import Testing

extension ConformanceTests {
    /// Encrypted connections, by the command line's own client.
    struct TLSTests {
        private static func certificate(_ name: String) -> URL {
            Repository.file("Tests/ConformanceTests/Certificates/\(name)")
        }

        /// A folder with the server's certificate, and the options that name it.
        private static func folder(_ name: String) throws -> (URL, [String]) {
            let folder = try ServerProcess.makeFolder()
            try put(name, folder)
            return (
                folder,
                [
                    "--tls-cert", folder.appending(path: "cert.pem").path, "--tls-key",
                    folder.appending(path: "key.pem").path,
                ]
            )
        }

        private static func put(_ name: String, _ folder: URL) throws {
            try Data(contentsOf: certificate("\(name).key")).write(
                to: folder.appending(path: "key.pem"), options: .atomic)
            try Data(contentsOf: certificate("\(name).pem")).write(
                to: folder.appending(path: "cert.pem"), options: .atomic)
        }

        private static func run(_ server: ServerProcess, root: String?, _ arguments: String...) throws -> (
            status: Int32, output: String, errors: String
        ) {
            let url = "wss://localhost:\(server.port)/sync"
            let ca = root.map { ["--ca", certificate($0).path] } ?? []
            return try ServerProcess.run(arguments + ["--url", url] + ca)
        }

        @Test("Commands talk to a server by TLS if its certificate is from a root that they trust, and is its own")
        func commands() throws {
            let (folder, options) = try Self.folder("server1")
            defer { try? FileManager.default.removeItem(at: folder) }
            let server = try ServerProcess(options)
            let large = "\"" + String(repeating: "x", count: 100_000) + "\""
            for key in ["a", "b"] {
                #expect(try Self.run(server, root: "root1.pem", "pub", key, large).status == 0)
            }
            #expect(try Self.run(server, root: "root1.pem", "get", "b").output == large + "\n")
            #expect(try Self.run(server, root: "root1.pem", "keys", "*").output == "a\nb\n")
            let untrusted = try Self.run(server, root: "root2.pem", "keys", "*")
            #expect(untrusted.status == 69 && untrusted.errors.contains("not from a root that is trusted"))
            #expect(try Self.run(server, root: nil, "keys", "*").status == 69)
            // Plain text on an encrypted port, and the other way round.
            #expect(try ServerProcess.run(["keys", "*", "--url", server.url]).status == 69)
            let plain = try ServerProcess()
            #expect(try Self.run(plain, root: "root1.pem", "keys", "*").errors.contains("does not speak TLS"))
        }

        @Test("A new certificate is used for new connections, and the open ones go on", arguments: [false, true])
        func reload(bySignal: Bool) async throws {
            let (folder, options) = try Self.folder("server1")
            defer { try? FileManager.default.removeItem(at: folder) }
            let server = try ServerProcess(options)
            let url = "wss://localhost:\(server.port)/sync"
            try await SyncConnection.open(url, roots: Self.certificate("root1.pem").path) { connection, messages in
                var iterator = messages.makeAsyncIterator()
                _ = try await iterator.next()
                try Self.put("server2", folder)
                if bySignal { kill(server.pid, SIGHUP) }
                try ServerProcess.until {
                    try Self.run(server, root: "root2.pem", "keys", "*").status == 0 ? true : nil
                }
                #expect(try Self.run(server, root: "root1.pem", "keys", "*").status == 69)
                try await connection.send(#"{"type":"ping","id":1}"#)
                let answer = try await iterator.next()
                #expect(answer.map { String(buffer: $0) }?.contains("pong") == true)
                // A pair that does not go together changes nothing.
                try Data(contentsOf: Self.certificate("server1.key")).write(to: folder.appending(path: "key.pem"))
                try ServerProcess.until {
                    try String(contentsOf: server.folder.appending(path: "server.log"), encoding: .utf8)
                        .contains("Certificates stay as they were") ? true : nil
                }
                #expect(try Self.run(server, root: "root2.pem", "keys", "*").status == 0)
                try Data(contentsOf: Self.certificate("server2.key")).write(to: folder.appending(path: "key.pem"))
            }
        }

        @Test("While certificates cannot be used, the access rules are not read again and again for it")
        func apart() throws {
            let (folder, options) = try Self.folder("server1")
            defer { try? FileManager.default.removeItem(at: folder) }
            let access = try AccessFixture()
            try access.add("t", read: ["*"], write: ["*"])
            let server = try access.start(options)
            func log() throws -> String {
                try String(contentsOf: server.folder.appending(path: "server.log"), encoding: .utf8)
            }
            try Data("nothing".utf8).write(to: folder.appending(path: "key.pem"), options: .atomic)
            try ServerProcess.until { try log().contains("Certificates stay as they were") ? true : nil }
            // Two changes of the rules are two readings of them, however often the certificates were tried between.
            for id in ["u", "v"] {
                let before = try log().components(separatedBy: "rules were read again").count
                try access.add(id, read: ["*"], write: [])
                try ServerProcess.until {
                    try log().components(separatedBy: "rules were read again").count == before + 1 ? true : nil
                }
            }
            #expect(try log().components(separatedBy: "rules were read again").count == 3)
            #expect(try log().components(separatedBy: "Certificates stay").count == 2)
        }

        @Test("A server that wants clients' certificates takes no client without one")
        func clientCertificates() throws {
            let (folder, options) = try Self.folder("server1")
            defer { try? FileManager.default.removeItem(at: folder) }
            let server = try ServerProcess(options + ["--tls-client-ca", Self.certificate("root1.pem").path])
            #expect(try Self.run(server, root: "root1.pem", "keys", "*").status == 69)
            let (status, output, errors) = try ServerProcess.run(
                [
                    "curl", "-s", "--cacert", Self.certificate("root1.pem").path, "--cert",
                    Self.certificate("client.pem").path,
                    "--key", Self.certificate("client.key").path, "https://localhost:\(server.port)/healthz",
                ], program: URL(filePath: "/usr/bin/env"))
            #expect(status == 0 && output == "ok\n", "\(errors)")
        }

        @Test("A slow reader by TLS catches up like any other")
        func slow() async throws {
            let (folder, options) = try Self.folder("server1")
            defer { try? FileManager.default.removeItem(at: folder) }
            let server = try ServerProcess(options + ["--max-backlog", "65536"])
            let url = "wss://localhost:\(server.port)/sync"
            let root = Self.certificate("root1.pem").path
            let value = "\"" + String(repeating: "x", count: 50_000) + "\""
            try await SyncConnection.open(url, roots: root) { connection, messages in
                try await connection.send(#"{"type":"subscribe","id":"s","pattern":"*"}"#)
                try await SyncConnection.open(url, roots: root) { writer, replies in
                    var iterator = replies.makeAsyncIterator()
                    for number in 1...1_000 {
                        try await writer.send(
                            #"{"type":"broadcast","id":\#(number),"key":"k:\#(number % 10)","value":[\#(number),\#(value)]}"#
                        )
                        while let reply = try await iterator.next(), !String(buffer: reply).contains("\"ack\"") {}
                    }
                }
                var last: [String: Int64] = [:]
                for try await message in messages {
                    let update = try JSONObject(Array(message.readableBytesView))
                    guard let key = update.string("key"), let number = update.array("value")?.first else { continue }
                    last[key] = Int64(String(decoding: number, as: UTF8.self))
                    if last.count == 10, last.values.min() == 991 { break }
                }
                #expect(last.values.sorted() == Array(991...1_000))
            }
        }
    }
}
