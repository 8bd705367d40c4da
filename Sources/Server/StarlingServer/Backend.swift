import Access
import Agents
import Logging
import Loops
import NIOCore
import NIOPosix
import Registers
import SQLiteStore
import SearchIndex
import ServiceLifecycle
import SyncEngine
import SyncProtocol
import Synchronization
import Transport
import WebSocket

/// A database with everything that runs on it: the committer, the readers, the checkpoints and the event loops.
struct Backend: Sendable {
    private static let framing: Framing = { FrameEncoder.writeText(to: &$0, $1) }

    /// The messages in frames as ``framing`` makes them.
    @Sendable private static func unframe(_ frames: ByteBuffer) -> [ByteBuffer] {
        var rest = frames
        var messages: [ByteBuffer] = []
        while let header = try? FrameHeader.read(from: &rest),
            let message = rest.readSlice(length: header.payloadLength)
        {
            messages.append(message)
        }
        assert(rest.readableBytes == 0, "frames are whole")
        return messages
    }

    private let logger: Logger
    private let readers: ReaderThreads
    private let checkpoints = CheckpointThread()
    let database: SQLiteDatabase
    let committer: CommitterThread
    let health: StoreHealth
    let group: MultiThreadedEventLoopGroup
    let drivers: [LoopDriver]
    let services: AgentServices
    let modelContext: ModelContextServices

    /// Opens the database, and starts all threads.
    ///
    /// - Parameters:
    ///   - authority: says what credentials are worth.
    ///   - memory: what connections hold of messages that are not whole yet.
    ///   - cipher: what values are encrypted with where they are stored; nil: they are not.
    init(
        configuration: ServerConfiguration, authority: any Authority, memory: InboundMemory, cipher: ValueCipher?,
        logger: Logger
    ) throws(StoreError) {
        self.logger = logger
        var random = SystemRandomNumberGenerator()
        database = try SQLiteDatabase(
            .init(
                path: configuration.data, durability: configuration.durability,
                maximumDrift: configuration.maximumDrift.milliseconds, readers: 3, bootID: BootID.read(), cipher: cipher
            ),
            now: SystemClock.now(), random: &random, migrating: Self.migrationLog(configuration.data, logger))
        Self.warn(of: database, at: configuration.data, logger)
        health = StoreHealth(logger: logger)
        committer = CommitterThread(head: database.state.head, health: health, logger: logger)
        readers = ReaderThreads(count: 2)
        group = MultiThreadedEventLoopGroup(numberOfThreads: configuration.threads)
        let calls = Calls()
        drivers = Self.makeDrivers(
            configuration, database, committer, readers, group, authority: authority, memory: memory
        ) { request, loop in
            calls.services.withLock { $0 }?.serve(request, loop: loop)
        }
        let drivers = drivers
        // Tokens of an index would be values on a disk as they are, and one from before the database was encrypted has them.
        let index = SearchIndex.path(beside: configuration.data)
        if cipher != nil {
            do { try SearchIndex.delete(at: index) } catch { logger.error("The unencrypted index stays: \(error)") }
        }
        services = AgentServices(
            drivers, authority, path: cipher == nil ? index : nil, epoch: database.state.epoch,
            logger: logger)
        calls.services.withLock { [services] in $0 = services }
        modelContext = ModelContextServices(
            InProcessConnections(drivers, authority), services.index, on: drivers[drivers.count - 1].eventLoop)
        let health = health
        try checkpoints.start(database, noteFailure: { health.noteCheckpointFailure($0) })
        let reader = PageReader(
            store: SQLiteReader(database: database), framing: Self.framing,
            noteFailure: { health.noteReadFailure($0) })
        readers.start(reader: reader) { delivery, loop in drivers[loop].deliver(delivery) }
        try committer.start(
            database: database, loops: drivers.count, cacheSize: configuration.cacheSize,
            retention: configuration.tombstoneRetention.milliseconds,
            taskRetention: configuration.taskRetention.milliseconds, framing: Self.framing,
            publish: { changes in for driver in drivers { driver.deliver(.committed(changes)) } },
            checkpoints: checkpoints)
        for driver in drivers { driver.eventLoop.execute { driver.start() } }
        services.start()
    }

    /// Says how the rows of an older database get to where they stay, now and then, and ends that when the server is to stop.
    private static func migrationLog(_ path: String, _ logger: Logger) -> (Migration) throws -> Void {
        var next = ContinuousClock.now
        var hasBegun = false
        return { migration in
            switch migration {
            case .copying(_, let total):
                if !hasBegun {
                    logger.notice(
                        "\(path) gets a layout that no earlier version reads, once; before that a copy is made (\(total >> 20) MiB)"
                    )
                }
                hasBegun = true
                if Task.isShuttingDownGracefully { throw StoreError("stopped while it was copied") }
            case .copied(let copy): logger.notice("As it was before it is kept as \(copy)")
            case .moved(let done, let total):
                if done == total || next <= .now {
                    logger.notice("Moved \(done) of \(total) rows to the new layout")
                    next = .now + .seconds(2)
                }
                if Task.isShuttingDownGracefully, done < total {
                    throw StoreError("stopped while its rows were being moved; the next start goes on with that")
                }
            }
        }
    }

    private static func warn(of database: SQLiteDatabase, at path: String, _ logger: Logger) {
        switch database.newEpochReason {
        case .machineCrashed:
            logger.warning("The machine crashed while commits were not fsynced: starting a new epoch")
        case .logIsMissing:
            logger.warning(
                """
                The database was not closed, and its log (\(path)-wal) is not beside it: what was written last may be \
                missing. If it was moved without, stop this server and put both where they belong. Starting a new epoch
                """)
        case nil: break
        }
    }

    private static func makeDrivers(
        _ configuration: ServerConfiguration, _ database: SQLiteDatabase, _ committer: CommitterThread,
        _ readers: ReaderThreads, _ group: MultiThreadedEventLoopGroup, authority: any Authority,
        memory: InboundMemory, serve: @escaping @Sendable (ServiceRequest, Int) -> Void
    ) -> [LoopDriver] {
        var limits = TransportLimits(
            maximumMessageSize: configuration.messageSize, maximumValueSize: configuration.maximumValueSize,
            maximumBacklog: configuration.maximumBacklog, drainTimeout: TimeAmount(configuration.drainTimeout),
            pingInterval: TimeAmount(configuration.pingInterval),
            pingTimeout: TimeAmount(configuration.pingTimeout),
            stallTimeout: TimeAmount(configuration.stallTimeout))
        limits.handshakeTimeout = TimeAmount(configuration.handshakeTimeout)
        limits.maximumHeadSize = configuration.maximumHeadSize
        let welcome = Welcome(
            server: "starling/\(ServerConfiguration.version)", node: database.node,
            limits: .init(
                value: configuration.maximumValueSize, message: configuration.messageSize,
                subscriptions: configuration.maximumSubscriptions, drift: configuration.maximumDrift.milliseconds),
            pingInterval: UInt64(limits.pingInterval.nanoseconds / 1_000_000))
        let inboxes = Inboxes()
        let services = LoopServices(
            submitWrites: { !inboxes.areFull && committer.submit($0) }, submitRead: { readers.submit($0, loop: $1) },
            head: { committer.head }, now: { SystemClock.now() },
            random: {
                var random = SystemRandomNumberGenerator()
                return random.next()
            }, unframe: unframe, authority: authority, memory: memory, serve: serve)
        let drivers = group.makeIterator().enumerated().map { index, eventLoop in
            var shard = Shard.Configuration(loop: index, welcome: welcome, framing: framing)
            shard.rate = configuration.rate
            shard.rights = CallAccess.rights
            shard.problem = { authority.problem(with: $0) }
            shard.authenticationTimeout = configuration.handshakeTimeout.milliseconds
            shard.idleTimeout = configuration.idleTimeout?.milliseconds
            return LoopDriver(
                eventLoop: eventLoop, loop: index, shard: Shard(configuration: shard, state: database.state),
                limits: limits, services: services)
        }
        inboxes.drivers.withLock { $0 = drivers }
        return drivers
    }

    /// Who answers calls, which wants the event loops to be there.
    private final class Calls: Sendable {
        let services = Mutex<AgentServices?>(nil)
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

    /// Tells all connections, and waits until what they sent is answered.
    func drain() async {
        await modelContext.stop()
        await services.stop()
        for future in drivers.map({ $0.shutDown() }) { try? await future.get() }
    }

    /// Stops in the order in which things depend on each other: once connections are drained, writes end, then reads,
    /// then the database is closed. A failure of one is no reason not to stop the next.
    ///
    /// - Returns: why the database could not be closed as it should be.
    func stop() async -> StoreError? {
        let stamp = committer.stop()
        readers.stop()
        checkpoints.stop()
        try? await group.shutdownGracefully()
        do throws(StoreError) {
            try database.close(lastStamp: stamp)
            return nil
        } catch {
            logger.error("Closing the database failed", metadata: ["error": "\(error)"])
            return error
        }
    }
}
