import Foundation
import StarlingServer
import SyncProtocol
import TestSupport
import Testing
import WebSocket

extension ConformanceTests {
    /// Every limit, run into: what is beyond it is refused with the right words, and what is within it goes on.
    struct LimitTests {
        private static func metric(_ server: ServerProcess, _ name: String) throws -> Int {
            let client = try RawClient(port: server.port)
            try client.send(raw: Array("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".utf8))
            let page = try client.readAll()
            let line = page.split(whereSeparator: \.isNewline).first { $0.hasPrefix("\(name) ") }
            return line.flatMap { Int($0.split(separator: " ").last ?? "") } ?? -1
        }

        private static func answer(_ server: ServerProcess, _ request: [UInt8] = RawClient.handshake()) throws -> String
        {
            let client = try RawClient(port: server.port)
            try client.send(raw: request)
            return try client.readHead()
        }

        @Test("--max-connections: more are told to come back, and are let in once there is room")
        func connections() throws {
            let server = try ServerProcess(["--max-connections", "3"])
            var clients = try (0..<3).map { _ in try RawClient.connected(server) }
            #expect(try Self.answer(server).contains("503 Service Unavailable"))
            clients.removeLast()
            try ServerProcess.until { try Self.answer(server).contains("101") ? true : nil }
            #expect(clients.count == 2)
            try ServerProcess.until {
                try Self.metric(server, #"starling_connections_refused_total{limit="total"}"#) > 0 ? true : nil
            }
        }

        @Test("--max-connections-per-address counts by peer, or by what a trusted proxy says")
        func addresses() throws {
            let server = try ServerProcess(["--max-connections-per-address", "2"])
            let clients = try (0..<2).map { _ in try RawClient.connected(server) }
            #expect(try Self.answer(server).contains("429 Too Many Requests"))
            let proxied = try ServerProcess(["--max-connections-per-address", "1", "--trust-proxy", "127.0.0.0/8"])
            func handshake(_ header: String) -> [UInt8] { RawClient.handshake(extra: "X-Forwarded-For: \(header)\r\n") }
            let one = try RawClient(port: proxied.port)
            try one.send(raw: handshake("192.0.2.1"))
            #expect(try one.readHead().contains("101"))
            #expect(try Self.answer(proxied, handshake("192.0.2.1")).contains("429"))
            // What the client wrote in front of what the proxy did is not believed.
            #expect(try Self.answer(proxied, handshake("198.51.100.7, 192.0.2.1")).contains("429"))
            #expect(try Self.answer(proxied, handshake("192.0.2.2")).contains("101"))
            #expect(clients.count == 2)
        }

        @Test("--handshake-timeout: whoever is not ready by then is closed, before the request and before credentials")
        func handshakes() throws {
            let access = try AccessFixture()
            try access.add("t", read: ["*"], write: ["*"])
            let server = try access.start(["--handshake-timeout", "1"])
            let silent = try RawClient(port: server.port)
            let slow = try RawClient(port: server.port)
            try slow.send(raw: Array("GET /sync HTTP/1.1\r\nHost: x\r\nX-Slow: ".utf8))
            #expect(try silent.readAll() == "" && slow.readAll() == "")
            let stranger = try RawClient.connected(server)
            #expect(try stranger.receive(type: "bye").string("code") == "unauthorized")
            #expect(try stranger.next() == .close(1008))
        }

        @Test("--max-head: a larger request is refused")
        func heads() throws {
            let server = try ServerProcess(["--max-head", "2048"])
            let large = "X-Large: \(String(repeating: "x", count: 3_000))\r\n"
            #expect(try Self.answer(server, RawClient.handshake(extra: large)).contains("431"))
            #expect(try Self.answer(server).contains("101"))
            #expect(try Self.metric(server, #"starling_connections_refused_total{limit="head"}"#) == 1)
        }

        @Test(
            "--max-message-rate: messages that come faster are refused and change nothing; a flood ends the connection")
        func messageRate() throws {
            let server = try ServerProcess(["--max-message-rate", "20"])
            let client = try RawClient.connected(server)
            for id in 0..<60 { try client.send(#"{"type":"broadcast","id":\#(id),"key":"k:\#(id)","value":1}"#) }
            var (acks, refusals): (Set<Int64>, Set<Int64>) = ([], [])
            for _ in 0..<60 {
                let answer = try client.receive()
                guard let id = answer.integer("id") else { continue }
                if answer.string("type") == "ack" { acks.insert(id) }
                if answer.string("code") == "rate_limited" {
                    refusals.insert(id)
                    #expect(
                        answer.integer("retry_after_ms").map { 1...51 ~= $0 } == true && answer.bool("retry") == true)
                }
            }
            #expect(acks.isSuperset(of: 0..<20) && refusals.count >= 20 && acks.count + refusals.count == 60)
            let flooder = try RawClient.connected(server)
            let ping = RawClient.frame(.text, Array(#"{"type":"ping"}"#.utf8))
            try? flooder.send(raw: (0..<1_500).flatMap { _ in ping })
            #expect(try flooder.receive(type: "bye").string("code") == "rate_limited")
        }

        @Test("--max-byte-rate: as for messages, by their bytes")
        func byteRate() throws {
            let server = try ServerProcess(["--max-byte-rate", "10000"])
            let client = try RawClient.connected(server)
            let value = String(repeating: "x", count: 30_000)
            try client.send(#"{"type":"broadcast","id":1,"key":"a","value":"\#(value)"}"#, #"{"type":"ping","id":2}"#)
            #expect(try client.receive(type: "ack").integer("id") == 1)
            #expect(try client.receive(type: "error").integer("retry_after_ms").map { $0 > 1_000 } == true)
        }

        @Test("A token's rates are for all its connections together, and its keys are counted where it may write")
        func tokens() throws {
            let access = try AccessFixture()
            try access.add("slow", read: ["*"], write: ["*"]) {
                $0.limits = try? JSONDecoder().decode(
                    AccessFile.Limits.self, from: Data(#"{"messages_per_second":5}"#.utf8))
            }
            try access.add("few", read: ["*"], write: ["few:*"]) {
                $0.limits = try? JSONDecoder().decode(AccessFile.Limits.self, from: Data(#"{"keys":3}"#.utf8))
            }
            try access.add("root", read: ["*"], write: ["*"])
            let server = try access.start()
            let pair = try (0..<2).map { _ in try access.connect(server, "slow") }
            for client in pair { for _ in 0..<5 { try client.send(#"{"type":"ping"}"#) } }
            let types = try pair.flatMap { client in try (0..<5).map { _ in try client.receive().string("type") } }
            #expect(types.count { $0 == "error" } >= 3)

            let (few, root) = (try access.connect(server, "few"), try access.connect(server, "root"))
            func write(_ client: RawClient, _ key: String, _ more: String = #","value":1"#, type: String = "broadcast")
                throws -> String?
            {
                try client.send(#"{"type":"\#(type)","id":1,"key":"\#(key)"\#(more)}"#)
                let answer = try client.receive()
                return answer.string("code") ?? answer.string("type")
            }
            #expect(try write(root, "few:0") == "ack")
            #expect(try write(few, "few:1") == "ack")
            #expect(try write(few, "few:2", #","ttl":1"#, type: "claim") == "claimed")
            #expect(try write(few, "few:3") == "too_many_keys")
            #expect(try write(few, "few:1") == "ack", "a key that is there may be written")
            #expect(try write(root, "few:9") == "ack", "others are not bound by it")
            #expect(try write(few, "few:9", "", type: "delete") == "ack")
            #expect(try write(few, "few:3") == "too_many_keys")
            #expect(try write(few, "few:0", "", type: "delete") == "ack")
            #expect(try write(few, "few:3") == "ack")
            // What expires makes room too.
            try ServerProcess.until { try write(few, "few:4") == "ack" ? true : nil }
            #expect(try write(few, "few:5") == "too_many_keys")
        }

        @Test(
            "--idle-timeout: a connection that waits for nothing and sends nothing is closed; one that subscribes is not"
        )
        func idle() throws {
            let server = try ServerProcess(["--idle-timeout", "1"])
            let (idle, subscriber) = (try RawClient.connected(server), try RawClient.connected(server))
            try subscriber.send(#"{"type":"subscribe","id":"s","pattern":"*"}"#)
            _ = try subscriber.receive(type: "synced")
            #expect(try idle.receive(type: "bye").string("code") == "idle")
            try subscriber.send(#"{"type":"ping","id":1}"#)
            _ = try subscriber.receive(type: "pong")
        }

        @Test("A server that runs out of descriptors serves who is there, and takes others once there are some again")
        func descriptors() throws {
            let server = try ServerProcess(limitedTo: 64)
            let client = try RawClient.connected(server)
            var crowd: [RawClient] = []
            // The kernel takes connections that the server cannot.
            for _ in 0..<80 { crowd.append(try RawClient(port: server.port)) }
            try client.send(#"{"type":"broadcast","id":1,"key":"a","value":1}"#)
            #expect(try client.receive(type: "ack").integer("id") == 1)
            crowd.removeAll()
            let late = try RawClient.connected(server)
            try late.send(#"{"type":"get","id":1,"key":"a"}"#)
            #expect(try late.receive(type: "register").integer("value") == 1)
        }
    }
}
