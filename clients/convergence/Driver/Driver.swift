import Foundation
import Logging
import StarlingClient

/// Five clients in Swift: takes a line of JSON for each event, and prints a line of JSON in the end.
@main
enum Driver {
    private struct Event: Decodable {
        var settle: Bool?
        var look: Bool?
        var client: Int?
        var key: String?
        var value: Int?
        var ttl: Double?
    }

    static func main() async throws {
        let clients = try CommandLine.arguments[1].split(separator: ",").enumerated().map { index, url in
            var options = StarlingClient.Options()
            options.outbox = FileOutbox("\(CommandLine.arguments[2])/swift-\(index)")
            options.logger.logLevel = .critical
            return try StarlingClient(String(url), agent: "swift-\(index)", options: options)
        }
        for client in clients { try client.subscribe("shared:*") { _ in } }
        var writes: [PendingWrite] = []
        while let line = readLine() {
            let event = try JSONDecoder().decode(Event.self, from: Data(line.utf8))
            if event.settle == true {
                try await settle(clients, writes)
            } else if event.look == true {
                try look(clients)
            } else if let index = event.client, let key = event.key {
                let ttl = event.ttl.map { Duration.seconds($0) }
                writes.append(
                    try event.value.map { try clients[index].broadcast(key, $0, ttl: ttl) }
                        ?? clients[index].delete(key))
            }
        }
        for client in clients { await client.close() }
    }

    private static func settle(_ clients: [StarlingClient], _ writes: [PendingWrite]) async throws {
        var applied: [[String]] = []
        for write in writes {
            let outcome = try await write.outcome
            if outcome.status == .applied, let version = outcome.version { applied.append([outcome.key, version]) }
        }
        for client in clients { try await client.live() }
        try show(["applied": applied, "count": writes.count])
    }

    private static func look(_ clients: [StarlingClient]) throws {
        let replicas = try clients.map { client in
            try client.list().map { [$0.key, $0.version, try $0.value(as: Int.self)] as [Any] }
        }
        try show(replicas)
    }

    private static func show(_ value: Any) throws {
        let data = try JSONSerialization.data(withJSONObject: value, options: .withoutEscapingSlashes)
        print(String(decoding: data, as: UTF8.self))
        fflush(nil)
    }
}
