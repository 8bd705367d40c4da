import Foundation
import StarlingClient
import Synchronization
import Testing

extension ConformanceTests {
    /// Agents of a swarm that use the client in Swift, with the real server.
    struct SwiftSwarmTests {
        /// Which tasks were done, as often as they were.
        private final class Done: Sendable {
            private let tasks = Mutex<[String]>([])
            var all: [String] { tasks.withLock { $0 } }
            func add(_ task: String) { tasks.withLock { $0.append(task) } }
        }

        private func until(_ what: String, _ condition: () throws -> Bool) async throws {
            let deadline = ContinuousClock.now + .seconds(30)
            while try !condition() {
                if ContinuousClock.now > deadline { throw TestFailure("waited in vain: \(what)") }
                await Task.yield()
            }
        }

        @Test(
            "Agents of a swarm do each task in its turn, also when the server ends in between, and give back what they have"
        )
        func swarm() async throws {
            struct Work: Codable, Equatable, Sendable { var number: Int }
            let folder = try ServerProcess.makeFolder()
            defer { try? FileManager.default.removeItem(at: folder) }
            var server = try ServerProcess(in: folder)
            let planner = try StarlingClient(server.url, agent: "planner")
            let agents = try (0..<3).map { try StarlingClient(server.url, agent: "a\($0)") }
            defer { for client in agents + [planner] { client.closeAtOnce() } }
            let swarm = Swarm(planner, "s")
            try await swarm.make()
            let done = Done()
            let workers = agents.map { client in
                Task {
                    try await Swarm(client, "s").work(lease: .seconds(2)) { task in
                        let work = try task.input(as: Work.self)
                        if work.number < 0 { try await Task.sleep(for: .seconds(600)) }
                        done.add(task.id)
                        return Work(number: work.number * 2)
                    }
                }
            }
            let tasks: [Swarm.Fields] = (0..<12).map { number in
                [
                    "id": "t\(number)", "input": Work(number: number),
                    "dependencies": number == 0 ? [] : ["t\(number / 2)"],
                ]
            }
            #expect(try await swarm.submit(tasks).count == 12)
            try await until("some are done") { done.all.count > 2 }
            let port = server.port
            server.killHard()
            server = try ServerProcess(in: folder, ["--port", "\(port)"])
            let results = try planner.subscribe("swarm:s:task:*")
            try await until("all are done") {
                results.list().count { $0.key.hasSuffix(":result") } == 12
            }
            #expect(try planner.get("swarm:s:task:t11:result") == Work(number: 22))
            #expect(Set(done.all).count == 12)
            _ = try await swarm.submit([["id": "long", "input": Work(number: -1)]])
            struct Row: Codable, Equatable { var status: String }
            try await until("it has begun") { try planner.get("swarm:s:task:long", as: Row.self)?.status == "working" }
            for worker in workers { worker.cancel() }
            for worker in workers { _ = await worker.result }
            try await until("it is back") { try planner.get("swarm:s:task:long", as: Row.self)?.status == "ready" }
        }
    }
}
