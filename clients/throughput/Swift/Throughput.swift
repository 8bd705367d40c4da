import StarlingClient
import Synchronization

/// How many writes a client gets acknowledged in a second, and how many updates it is told.
@main
enum Throughput {
    static func main() async throws {
        let (url, count) = (CommandLine.arguments[1], Int(CommandLine.arguments[2]) ?? 1)
        let (writer, reader) = (try StarlingClient(url), try StarlingClient(url))
        try await writer.live()
        try await reader.live()
        let value = String(repeating: "x", count: 128)
        let clock = ContinuousClock()
        let writing = try await clock.measure {
            for index in 0..<count { try writer.broadcast("swift:\(index)", value) }
            await writer.drained()
        }
        let reading = try await clock.measure {
            var told = 0
            for try await _ in try reader.subscribe("swift:*") {
                told += 1
                if told == count { break }
            }
        }
        print(
            "| Swift | \(Int(Double(count) / (writing / .seconds(1)))) | \(Int(Double(count) / (reading / .seconds(1)))) |"
        )
        for client in [writer, reader] { await client.close() }
    }
}
