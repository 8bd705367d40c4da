import Foundation
import Registers
import SyncProtocol
import Synchronization
import Testing

extension ConformanceTests {
    /// Claims among many, by what everyone was told and what an observer saw.
    struct ClaimTests {
        private struct Grant: Hashable {
            var key: String
            var fence: Int64
            var revision: Int64
        }

        @Test(
            "1,000 agents race for 100 claims: each has one holder at a time, and a fenced write is made under its claim only"
        )
        func race() throws {
            let server = try ServerProcess()
            let observer = UncheckedBox(try RawClient.connected(server))
            try observer.value.send(#"{"type":"subscribe","id":"s","pattern":"*"}"#)
            _ = try observer.value.receive(type: "synced")
            let granted = Mutex<[Grant]>([])
            let done = DispatchGroup()
            let failures = Mutex<[String]>([])
            for group in 0..<10 {
                done.enter()
                Thread {
                    do {
                        let grants = try Self.agents(100, server, group: group)
                        granted.withLock { $0 += grants }
                    } catch {
                        failures.withLock { $0.append("\(error)") }
                    }
                    done.leave()
                }.start()
            }
            done.wait()
            #expect(failures.withLock { $0 } == [])
            let marker = try RawClient.connected(server)
            try marker.send(#"{"type":"broadcast","key":"end","value":1}"#)
            let seen = try Self.check(observer.value)
            let told = granted.withLock { $0 }
            #expect(told.count >= 100)
            #expect(Set(told).count == told.count, "a grant was told to two")
            #expect(Set(told) == seen)
        }

        /// Some agents, each a connection of its own: all ask at once, and whoever gets a claim writes and gives it up.
        private static func agents(_ count: Int, _ server: ServerProcess, group: Int) throws -> [Grant] {
            let clients = try (0..<count).map { _ in try RawClient.connected(server) }
            var grants: [Grant] = []
            for round in 0..<3 {
                for (index, client) in clients.enumerated() {
                    let key = "lock:\((index * 7 + group + round) % 100)"
                    try client.send(#"{"type":"claim","id":"c","key":"\#(key)","ttl":30}"#)
                }
                for client in clients {
                    let answer = try client.receive()
                    let key = answer.string("key") ?? ""
                    guard answer.string("type") == "claimed" else {
                        guard answer.string("type") == "refused", answer.string("code") == "held" else {
                            throw TestFailure("\(answer)")
                        }
                        continue
                    }
                    let fence = answer.integer("fence") ?? 0
                    grants.append(Grant(key: key, fence: fence, revision: answer.integer("revision") ?? 0))
                    try client.send(
                        #"{"type":"broadcast","id":"w","key":"by:\#(key)","value":\#(fence),"fence":{"key":"\#(key)","token":\#(fence)}}"#,
                        #"{"type":"release","id":"r","key":"\#(key)","fence":\#(fence)}"#)
                    guard try client.receive().bool("applied") == true,
                        try client.receive().string("type") == "released"
                    else { throw TestFailure("a holder's write or release was refused") }
                }
            }
            return grants
        }

        /// Goes through the history that an observer was sent: grants and ends of each key take turns.
        private static func check(_ observer: RawClient) throws -> Set<Grant> {
            var holders: [String: Int64] = [:]
            var lastFences: [String: Int64] = [:]
            var grants: Set<Grant> = []
            while true {
                let update = try observer.receive(type: "update")
                let key = update.string("key") ?? ""
                if key == "end" { return grants }
                if key.hasPrefix("by:") {
                    #expect(holders[String(key.dropFirst(3))] == update.integer("value"), "\(key) by no holder")
                } else if update.bool("deleted") == true {
                    #expect(holders[key] != nil)
                    holders[key] = nil
                } else {
                    let fence = update.object("value")?.integer("fence") ?? 0
                    #expect(holders[key] == nil, "\(key) has two holders")
                    #expect(fence > lastFences[key] ?? 0, "the fence of \(key) goes back")
                    holders[key] = fence
                    lastFences[key] = fence
                    grants.insert(Grant(key: key, fence: fence, revision: update.integer("revision") ?? 0))
                }
            }
        }

        @Test("A paused holder cannot write after its lease has passed on")
        func paused() throws {
            let server = try ServerProcess()
            let paused = try RawClient.connected(server)
            let next = try RawClient.connected(server)
            try next.send(#"{"type":"subscribe","id":"s","pattern":"lock"}"#)
            _ = try next.receive(type: "synced")
            try paused.send(#"{"type":"claim","id":"c","key":"lock","ttl":0.2}"#)
            let old = try paused.receive(type: "claimed").integer("fence") ?? 0
            #expect(try next.receive(type: "update").bool("deleted") == nil)
            // Its time passes without it.
            #expect(try next.receive(type: "update").string("cause") == "expired")
            try next.send(#"{"type":"claim","id":"c","key":"lock","ttl":30}"#)
            let new = try next.receive(type: "claimed").integer("fence") ?? 0
            #expect(new > old)
            try paused.send(
                #"{"type":"broadcast","id":"w","key":"result","value":1,"fence":{"key":"lock","token":\#(old)}}"#,
                #"{"type":"renew","id":"r","key":"lock","fence":\#(old),"ttl":30}"#,
                #"{"type":"release","id":"x","key":"lock","fence":\#(old)}"#)
            #expect(try paused.receive().string("code") == ErrorCode.staleFence.rawValue)
            #expect(try paused.receive().string("code") == ErrorCode.staleFence.rawValue)
            #expect(try paused.receive().string("code") == ErrorCode.staleFence.rawValue)
            try next.send(
                #"{"type":"broadcast","id":"w","key":"result","value":2,"fence":{"key":"lock","token":\#(new)}}"#)
            #expect(try next.receive(type: "ack").bool("applied") == true)
        }

        @Test("What ends with a connection ends when that does, however it does, and when the server starts again")
        func untilDisconnect() throws {
            let folder = try ServerProcess.makeFolder()
            defer { try? FileManager.default.removeItem(at: folder) }
            var fence: Int64 = 0
            do {
                let server = try ServerProcess(in: folder)
                let observer = try RawClient.connected(server)
                try observer.send(#"{"type":"subscribe","id":"s","pattern":"agent:*"}"#)
                _ = try observer.receive(type: "synced")
                do {
                    let agent = try RawClient.connected(server)
                    try agent.send(
                        #"{"type":"broadcast","id":"w","key":"agent:1","value":"here","until":"disconnect"}"#,
                        #"{"type":"claim","id":"c","key":"agent:2","until":"disconnect"}"#)
                    fence = try agent.receive(type: "claimed").integer("fence") ?? 0
                    #expect(try observer.receive(type: "update").string("value") == "here")
                    #expect(try observer.receive(type: "update").object("value")?.integer("fence") == fence)
                }
                var gone: Set<String> = []
                for _ in 0..<2 {
                    let update = try observer.receive(type: "update")
                    #expect(update.string("cause") == "disconnected" && update.bool("deleted") == true)
                    gone.insert(update.string("key") ?? "")
                }
                #expect(gone == ["agent:1", "agent:2"])
                try observer.send(
                    #"{"type":"claim","id":"c","key":"agent:3","until":"disconnect"}"#,
                    #"{"type":"broadcast","id":"w","key":"agent:4","value":1,"until":"disconnect"}"#)
                _ = try observer.receive(type: "ack")
                server.killHard()
            }
            let server = try ServerProcess(in: folder)
            let witness = try RawClient.connected(server)
            try witness.send(#"{"type":"list","id":"l","pattern":"agent:*"}"#)
            #expect(try witness.receive(type: "registers").array("registers")?.isEmpty == true)
            try witness.send(#"{"type":"claim","id":"c","key":"agent:2","ttl":9}"#)
            #expect(try witness.receive(type: "claimed").integer("fence") ?? 0 > fence)
        }

        @Test(
            "A claim that is sent again on a new connection is that one's, and the end of the old one does not end it")
        func movedToNewConnection() throws {
            let server = try ServerProcess()
            let claim = #"{"type":"claim","id":"c","key":"lock","until":"disconnect","op":"8899aabbccddeeff"}"#
            let new = try RawClient.connected(server)
            try new.send(#"{"type":"subscribe","id":"s","pattern":"*"}"#)
            _ = try new.receive(type: "synced")
            do {
                let old = try RawClient.connected(server)
                try old.send(claim)
                let fence = try old.receive(type: "claimed").integer("fence")
                _ = try new.receive(type: "update")
                try new.send(claim)
                #expect(try new.receive(type: "claimed").integer("fence") == fence)
                try old.send(#"{"type":"broadcast","key":"mark","value":1,"until":"disconnect"}"#)
                _ = try new.receive(type: "update")
            }
            // The old connection's other register ends with it; the claim does not.
            let update = try new.receive(type: "update")
            #expect(update.string("key") == "mark" && update.string("cause") == "disconnected")
            try new.send(#"{"type":"get","id":"g","key":"lock"}"#)
            #expect(try new.receive(type: "register").bool("found") == true)
        }
    }
}
