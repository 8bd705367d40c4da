import NIOCore
import NIOPosix
package import SyncClient

extension LoadRun {
    /// Carries a plan out.
    ///
    /// - Parameters:
    ///   - serverTime: how much CPU time the server has used, in seconds, where that can be known.
    ///   - progress: is told every quarter of a second how far it is.
    /// - Throws: ``ClientError`` when there is no connection to be had, or one is lost.
    package static func carryOut(
        _ plan: LoadPlan, _ dialer: Dialer, serverTime: @escaping @Sendable () -> Double? = { nil },
        progress: @escaping @Sendable (LoadProgress) -> Void
    ) async throws -> LoadReport {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: plan.scenario == .reconnect ? 2 : 1)
        let run = LoadRun(plan, dialer, eventLoop: group.next(), serverTime: serverTime)
        run.watchLoop = group.next()
        let result: Result<LoadReport, any Error>
        do {
            result = .success(try await run.carryOut(progress))
        } catch {
            result = .failure(error)
        }
        try? await run.close(0..<Int.max)
        try? await group.shutdownGracefully()
        return try result.get()
    }

    private func carryOut(_ progress: @escaping @Sendable (LoadProgress) -> Void) async throws -> LoadReport {
        try await withThrowingTaskGroup(of: LoadReport?.self) { [self] tasks in
            tasks.addTask { [self] in
                while true {
                    try await Task.sleep(for: .milliseconds(250))
                    progress(try await self.eventLoop.submit { [self] in self.progress }.get())
                }
            }
            tasks.addTask { [self] in
                switch plan.scenario {
                case .fanOut, .pattern, .wildcards, .ingest, .latency: try await measureLoad()
                case .idle: try await measureIdle()
                case .snapshot: try await measureSnapshot()
                case .reconnect: try await measureReconnect()
                }
                return try await eventLoop.submit { [self] in report }.get()
            }
            defer { tasks.cancelAll() }
            while let result = try await tasks.next() {
                if let report = result { return report }
            }
            throw CancellationError()
        }
    }

    private var progress: LoadProgress {
        let latencies = plan.receivers > 0 ? report.deliveries : report.acknowledgements
        return LoadProgress(
            phase: phase, opened: opener.ready, delivered: report.delivered, acknowledged: report.acknowledged,
            p99: latencies.quantile(0.99))
    }

    private func on(_ body: @escaping @Sendable (LoadRun) -> Void) async throws {
        try await eventLoop.submit { [self] in body(self) }.get()
        if let failure = try await eventLoop.submit({ [self] in failure }).get() {
            throw ClientError(.unavailable, failure)
        }
    }

    private func subscribe(_ pattern: String, _ rest: String = "") -> String {
        "{\"type\":\"subscribe\",\"id\":\"s\",\"pattern\":\"\(pattern)\"\(rest)}"
    }

    private var subscribers: Range<Int> { 0..<plan.subscribers }
    private var publisherIndices: Range<Int> { plan.subscribers..<(plan.subscribers + plan.publishers) }

    /// Measures for so long.
    private func measure(_ seconds: Double) async throws {
        let began = NIODeadline.now()
        try await on { $0.measure(true) }
        try await Task.sleep(for: .seconds(seconds))
        let elapsed = Double((NIODeadline.now() - began).nanoseconds) / 1e9
        try await on {
            $0.measure(false)
            $0.report.seconds += elapsed
        }
    }

    private func fill() async throws {
        try await on { $0.phase = .filling }
        try await eventLoop.flatSubmit { [self] in writeAll(deleting: false, keys: plan.keys) }.get()
    }

    private func cleanUp() async throws {
        try await on { $0.phase = .cleaning }
        try await eventLoop.flatSubmit { [self] in writeAll(deleting: true, keys: plan.keys) }.get()
    }

    private func measureLoad() async throws {
        let plan = plan
        try await open(publisherIndices) { _ in nil }
        try await open(subscribers) { [self] in subscribe(plan.pattern($0)) }
        try await on {
            $0.phase = .measuring
            $0.startLoad()
        }
        try await Task.sleep(for: .seconds(plan.warmUp))
        try await measure(plan.seconds)
        try await on { $0.stopLoad() }
        let patience = NIODeadline.now() + .seconds(3)
        while NIODeadline.now() < patience, try await !eventLoop.submit({ [self] in isDrained }).get() {
            try await Task.sleep(for: .milliseconds(10))
        }
        if !subscribers.isEmpty { try await close(subscribers) }
        try await cleanUp()
    }

    private func measureIdle() async throws {
        let plan = plan
        try await open(subscribers) { [self] in subscribe(plan.pattern($0)) }
        try await on { $0.phase = .measuring }
        try await measure(plan.seconds)
    }

    private func measureSnapshot() async throws {
        let plan = plan
        try await open(publisherIndices) { _ in nil }
        try await fill()
        try await on {
            $0.phase = .measuring
            $0.measure(true)
            $0.report.openingSeconds = 0
        }
        try await open(subscribers) { [self] in subscribe(plan.pattern($0)) }
        try await on {
            $0.measure(false)
            $0.report.seconds = $0.report.openingSeconds
        }
        try await close(subscribers)
        try await cleanUp()
    }

    private func measureReconnect() async throws {
        let plan = plan
        try await open(publisherIndices) { _ in nil }
        try await fill()
        // They come, get to know where they are, and go.
        try await open(subscribers) { [self] in subscribe(plan.pattern($0), ",\"snapshot\":false") }
        try await close(subscribers)
        try await on { $0.writeSome(plan.missed) }
        let cursors = try await eventLoop.submit { [self] in self.cursors }.get()
        try await on {
            $0.phase = .measuring
            $0.report.openingSeconds = 0
            $0.report.opened = 0
        }
        let watch = try await startWatch()
        try await Task.sleep(for: .seconds(plan.warmUp))
        let calm = try await watch.deliveries(during: { try await Task.sleep(for: .seconds(plan.seconds)) })
        try await on { $0.measure(true) }
        let busy = try await watch.deliveries(during: {
            try await self.open(self.subscribers, atOnce: 512) { [self] index in
                subscribe(plan.pattern(index), cursors[index].map { ",\"since\":\"\($0)\"" } ?? "")
            }
        })
        try await on {
            $0.measure(false)
            $0.report.seconds = $0.report.openingSeconds
            $0.report.calmDeliveries = calm
            $0.report.deliveries = busy
        }
        try await watch.stop()
        try await close(subscribers)
        try await cleanUp()
    }

    /// A publisher and a subscriber who go on while others come back, on a thread of their own: what they see of it is the
    /// server's doing.
    private func startWatch() async throws -> LoadRun {
        var plan = LoadPlan(.latency, prefix: plan.prefix + "-live")
        plan.subscribers = 1
        plan.keys = 1
        plan.rate = max(1, self.plan.rate)
        plan.valueSize = self.plan.valueSize
        let watch = LoadRun(plan, opener.dialer, eventLoop: watchLoop, serverTime: { nil })
        try await watch.open(watch.publisherIndices) { _ in nil }
        let pattern = plan.pattern(0)
        try await watch.open(watch.subscribers) { [watch] _ in watch.subscribe(pattern) }
        try await watch.on { $0.startLoad() }
        return watch
    }

    /// The latencies of what is delivered while `body` runs.
    private func deliveries(during body: () async throws -> Void) async throws -> LatencyHistogram {
        try await on {
            $0.report.deliveries = LatencyHistogram()
            $0.measure(true)
        }
        try await body()
        try await on { $0.measure(false) }
        return try await eventLoop.submit { [self] in report.deliveries }.get()
    }

    private func stop() async throws {
        try await on { $0.stopLoad() }
        try await cleanUp()
        try await close(0..<Int.max)
    }
}
