import Logging
import NIOCore
import NIOPosix
import Registers
import SQLiteStore
import SyncEngine
import SyncProtocol
import Synchronization
import Transport
import WebSocket

/// A database with everything that runs on it: the committer, the readers, the checkpoints and the event loops.
struct Engine: Sendable {
    private static let framing: Framing = { FrameEncoder.writeText(to: &$0, $1) }

    private let configuration: ServerConfiguration
    private let logger: Logger
    private let database: SQLiteDatabase
    private let committer: CommitterThread
    private let readers: ReaderThreads
    private let checkpoints = CheckpointThread()
    private let group: MultiThreadedEventLoopGroup
    private let drivers: [LoopDriver]

    init(configuration: ServerConfiguration, logger: Logger) throws {
        self.configuration = configuration
        self.logger = logger
        var random = SystemRandomNumberGenerator()
        database = try SQLiteDatabase(
            .init(
                path: configuration.data, durability: configuration.durability,
                maximumDrift: configuration.maximumDrift, readers: 3, bootID: SystemClock.bootID()),
            now: SystemClock.now(), random: &random)
        if database.isNewEpochAfterCrash {
            logger.warning("The machine crashed while commits were not fsynced: starting a new epoch")
        }
        committer = CommitterThread(head: database.state.head, logger: logger)
        readers = ReaderThreads(count: 2)
        group = MultiThreadedEventLoopGroup(numberOfThreads: configuration.threads)
        drivers = Self.makeDrivers(configuration, database, committer, readers, group)
        let drivers = drivers
        let checkpoints = checkpoints
        try checkpoints.start(database, logger: logger)
        let committer = committer
        let reader = SQLiteReader(
            database: database, framing: Self.framing, noteFailure: { committer.noteReadFailure($0) })
        readers.start(reader: reader) { delivery, loop in drivers[loop].deliver(delivery) }
        try committer.start(
            database: database, loops: drivers.count, cacheSize: configuration.cacheSize,
            retention: configuration.tombstoneRetention, framing: Self.framing,
            publish: { batch in for driver in drivers { driver.deliver(.batch(batch)) } },
            logGrew: { checkpoints.request() })
        for driver in drivers { driver.eventLoop.execute { driver.start() } }
    }

    private static func makeDrivers(
        _ configuration: ServerConfiguration, _ database: SQLiteDatabase, _ committer: CommitterThread,
        _ readers: ReaderThreads, _ group: MultiThreadedEventLoopGroup
    ) -> [LoopDriver] {
        let limits = TransportLimits(
            maximumMessageSize: configuration.maximumMessageSize, maximumValueSize: configuration.maximumValueSize,
            maximumBacklog: configuration.maximumBacklog, drainTimeout: .milliseconds(configuration.drainTimeout),
            pingInterval: .milliseconds(configuration.pingInterval),
            pingTimeout: .milliseconds(configuration.pingTimeout),
            stallTimeout: .milliseconds(configuration.stallTimeout))
        let welcome = Welcome(
            server: "starling/\(ServerConfiguration.version)", node: database.node,
            limits: .init(
                value: configuration.maximumValueSize, message: configuration.maximumMessageSize,
                subscriptions: configuration.maximumSubscriptions, drift: configuration.maximumDrift),
            pingInterval: UInt64(limits.pingInterval.nanoseconds / 1_000_000))
        let inboxes = Inboxes()
        let services = LoopServices(
            submitWrites: { !inboxes.areFull && committer.submit($0) }, submitRead: { readers.submit($0, loop: $1) },
            head: { committer.head }, now: { SystemClock.now() },
            random: {
                var random = SystemRandomNumberGenerator()
                return random.next()
            })
        let drivers = group.makeIterator().enumerated().map { index, eventLoop in
            let shard = Shard(
                configuration: .init(loop: index, welcome: welcome, framing: framing), state: database.state)
            return LoopDriver(eventLoop: eventLoop, loop: index, shard: shard, limits: limits, services: services)
        }
        inboxes.drivers.withLock { $0 = drivers }
        return drivers
    }

    /// What waits for the event loops. When one of them cannot keep up with what the others write, the others have to
    /// wait, or memory would not be bounded.
    private final class Inboxes: Sendable {
        static let maximumSize = 128 << 20

        let drivers = Mutex<[LoopDriver]>([])

        var areFull: Bool {
            drivers.withLock { $0.contains { $0.inboxSize > Self.maximumSize } }
        }
    }

    /// Starts to accept connections.
    func listen() async throws -> any Channel {
        let probes = Routes.Probes(problem: { committer.measured.problem }, metrics: { try await metrics() })
        let door = HTTPDoor(responder: Routes.responder(probes), logger: logger)
        let routes = DoorRoutes(
            webSocketPath: "/sync",
            handshake: Handshake(
                origins: .init(
                    allowed: configuration.allowedOrigins, isLoopbackOnly: BindPolicy.isLoopback(configuration.host))),
            takeHTTP: { try door.take($0) })
        return try await Listener.bind(
            host: configuration.host, port: configuration.port, group: group, drivers: drivers, routes: routes)
    }

    private func metrics() async throws -> String {
        var page = MetricsPage(
            counters: ShardCounters(), backlog: 0, commits: committer.measured, head: committer.head,
            threads: drivers.count)
        for driver in drivers {
            let measured = try await driver.measure().get()
            page.counters = page.counters + measured.counters
            page.backlog += measured.backlog
            page.stalls += measured.stalls
            page.pingTimeouts += measured.pingTimeouts
        }
        return page.text
    }

    /// Stops in the order in which things depend on each other: connections are told and drained, then writes, then
    /// reads end, then the database is closed. A failure of one is no reason not to stop the next.
    func stop() async {
        for future in drivers.map({ $0.shutDown() }) { try? await future.get() }
        let stamp = committer.stop()
        readers.stop()
        checkpoints.stop()
        try? await group.shutdownGracefully()
        do throws(StoreError) {
            try database.close(lastStamp: stamp)
        } catch {
            logger.error("Closing the database failed", metadata: ["error": "\(error)"])
        }
    }
}
