import Foundation
import SyncProtocol
import TestSupport
import Testing

extension ConformanceTests {
    struct BenchTests {
        private static let scenarios = ["fan-out", "pattern", "ingest", "latency", "idle", "snapshot", "reconnect"]

        @Test("Each scenario measures something, and leaves nothing behind", arguments: scenarios)
        func measures(scenario: String) throws {
            let server = try ServerProcess()
            let run = try ServerProcess.run(
                [
                    "bench", server.url, "--scenario", scenario, "--json", "--time", "0.3", "--warm", "0.1",
                    "--subscribers", "5", "--publishers", "2", "--keys", "40", "--missed", "7",
                ], environment: [:])
            #expect(run.status == 0, "\(run.output)")
            let line = try #require(run.output.split(separator: "\n").first { $0.hasPrefix("{") })
            let report = try JSONObject(Array(line.utf8))
            #expect(report.string("scenario") == scenario)
            #expect(report.integer("refused") == 0 && report.integer("missing") == 0)
            let delivered = report.integer("delivered") ?? 0
            switch scenario {
            case "fan-out", "latency": #expect(delivered > 0)
            case "pattern": #expect(delivered > 0)
            case "ingest": #expect(report.integer("acknowledged") ?? 0 > 0)
            case "idle": #expect(report.integer("opened") == 5)
            case "snapshot": #expect(delivered == 5 * 40)
            default: #expect(delivered > 0 && delivered <= 7 && report.integer("opened") == 5)
            }
            let left = try ServerProcess.run(["keys", "bench:*", "--url", server.url], environment: [:])
            #expect(left.output == "")
        }

        @Test("A server that is not there, and numbers that make no sense, are answered with a sentence")
        func refuses() throws {
            let nobody = try ServerProcess.run(["bench", "ws://127.0.0.1:1/sync"], environment: [:])
            #expect(nobody.status == 69)
            #expect(try ServerProcess.run(["bench", "http://x"], environment: [:]).status == 64)
            #expect(try ServerProcess.run(["bench", "--window", "0"], environment: [:]).status == 64)
        }
    }
}
