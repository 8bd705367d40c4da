import ArgumentParser
import Foundation
import LoadGenerator
import SyncClient

extension LoadPlan.Scenario: ExpressibleByArgument {}

/// `starling bench`
struct Bench: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Measure a server, under the load of your choice.",
        discussion: """
            Writes keys that begin with 'bench:' and a random name, and deletes them at the end. Latencies are from when a \
            message was sent, or with 'latency' from when it was due, to when it came; all connections are of this one \
            process, on one thread, which should have a core to itself.

              fan-out    1 publisher, 1,000 subscribers of everything
              pattern    8 publishers at random keys, 1,000 subscribers with a pattern each
              wildcards  the same with patterns that no index finds: '**:N:*'
              ingest     16 publishers with 16 unacknowledged writes each
              latency    1,000 messages a second to 100 subscribers
              idle       10,000 connections with a subscription each
              snapshot   a subscriber of 100,000 keys
              reconnect  1,000 subscribers that come back at once, 100 changes behind

              starling bench --scenario ingest --publishers 4 --window 1
              starling bench wss://example.com/sync --token … --scenario latency --rate 200
            """)

    @Argument(help: "The server.")
    var url = ClientOptions.server(nil)

    @Option(
        name: .customLong("scenario"),
        help: "What to measure; more than once for several. (default: fan-out, pattern, ingest, latency)")
    var scenarios: [LoadPlan.Scenario] = []

    @Option(help: "Subscribers.")
    var subscribers: Int?

    @Option(help: "Publishers.")
    var publishers: Int?

    @Option(help: "Messages under way at a time; with 'ingest', of each publisher.")
    var window: Int?

    @Option(help: "Messages a second, in place of a window.")
    var rate: Int?

    @Option(help: "The size of a value, in bytes.")
    var size: Int?

    @Option(help: "How many keys are written to.")
    var keys: Int?

    @Option(help: "With 'reconnect': how many changes there are while the subscribers are away.")
    var missed: Int?

    @Option(help: "How long to measure each, in seconds.")
    var time = 3.0

    @Option(help: "How long to warm up before that, in seconds.")
    var warm = 1.0

    @Option(help: "The server's process, on this machine: its CPU time and memory are measured too. (Linux)")
    var pid: Int32?

    @Flag(help: "Print a JSON object for each scenario.")
    var json = false

    @OptionGroup var way: ConnectionOptions

    func validate() throws {
        let numbers = [
            ("subscribers", subscribers, 1...1_000_000), ("publishers", publishers, 1...10_000),
            ("window", window, 1...1_000_000), ("rate", rate, 1...10_000_000), ("size", size, 20...1_000_000),
            ("keys", keys, 1...100_000_000), ("missed", missed, 0...10_000_000),
        ]
        for (name, number, range) in numbers {
            if let number, !range.contains(number) {
                throw ValidationError(
                    "--\(name) is \(number); it must be from \(range.lowerBound) to \(range.upperBound)")
            }
        }
        if !(0.1...3_600).contains(time) { throw ValidationError("--time is \(time); it must be from 0.1 to 3600") }
        if !(0...3_600).contains(warm) { throw ValidationError("--warm is \(warm); it must be from 0 to 3600") }
    }

    func run() async throws {
        let dialer = try Dialer(url, token: try way.credentials(), roots: way.roots, identity: try way.identity())
        for scenario in scenarios.isEmpty ? [.fanOut, .pattern, .ingest, .latency] : scenarios {
            let plan = plan(scenario)
            let line = ProgressLine(plan)
            let before = pid.flatMap(ProcessUsage.init)
            let pid = pid
            let report = try await LoadRun.carryOut(
                plan, dialer, serverTime: { pid.flatMap { ProcessUsage($0)?.cpuSeconds } }, progress: { line.show($0) })
            line.clear()
            let usage = pid.flatMap { ProcessUsage($0) }?.since(before)
            let text = BenchReport(plan: plan, report: report, usage: usage)
            Output.line(json ? text.json : text.text)
        }
    }

    private func plan(_ scenario: LoadPlan.Scenario) -> LoadPlan {
        let name = String((0..<6).map { _ in "abcdefghijklmnopqrstuvwxyz".randomElement() ?? "x" })
        var plan = LoadPlan(scenario, prefix: "bench:\(name)")
        if let subscribers, plan.subscribers > 0 { plan.subscribers = subscribers }
        if let publishers, plan.publishers > 0 { plan.publishers = publishers }
        if let window { plan.window = window }
        if let rate { plan.rate = rate }
        if let size { plan.valueSize = size }
        if let keys { plan.keys = keys }
        if let missed { plan.missed = missed }
        // Whoever has a pattern has a key that matches it.
        if [.pattern, .wildcards, .reconnect].contains(scenario) { plan.keys = max(plan.keys, plan.subscribers) }
        plan.seconds = time
        plan.warmUp = warm
        return plan
    }
}

/// How far a run is, on one line of a terminal.
private final class ProgressLine: Sendable {
    private let plan: LoadPlan
    private let progress: Progress
    private let last = Box()

    /// Touched by one task only: that which shows progress.
    private final class Box: @unchecked Sendable {
        var count: UInt64 = 0
        var time = ContinuousClock.now
    }

    init(_ plan: LoadPlan) {
        self.plan = plan
        progress = Progress(plan.scenario.rawValue)
    }

    func show(_ state: LoadProgress) {
        let count = max(state.delivered, state.acknowledged)
        let seconds = (ContinuousClock.now - last.time) / .seconds(1)
        let rate = Int(Double(count - min(count, last.count)) / seconds)
        last.count = count
        last.time = .now
        var line = progress
        switch state.phase {
        case .measuring:
            line.show("\(BenchReport.number(Double(rate)))/s, p99 \(BenchReport.milliseconds(state.p99)) ms")
        case .connecting: line.show("connecting, \(state.opened)")
        case .filling, .cleaning: line.show(state.phase.rawValue)
        }
    }

    func clear() { progress.clear() }
}
