import Access
import Logging
import Loops
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

    private let configuration: ServerConfiguration
    private let logger: Logger
    private let database: SQLiteDatabase
    private let committer: CommitterThread
    private let readers: ReaderThreads
    private let checkpoints = CheckpointThread()
    private let group: MultiThreadedEventLoopGroup
    private let drivers: [LoopDriver]
    private let gate: ConnectionGate
    private let memory: InboundMemory
    private let refusals: RefusalLog
    private let access: AccessControl?
    private let certificates: ServerCertificates?
    private let cipher: ValueCipher?
    private let watch = FileWatch()
    private let activity = HTTPActivity()
    private let reloader: Reloader

    init(configuration: ServerConfiguration, logger: Logger) throws {
        self.configuration = configuration
        self.logger = logger
        reloader = Reloader(logger: logger)
        gate = ConnectionGate(configuration.connections)
        memory = InboundMemory(limit: configuration.maximumUnfinished)
        refusals = RefusalLog(logger: logger)
        access = try configuration.access.map { path throws(ServerError) in try AccessControl(path: path) }
        certificates = try configuration.certificates.map { files throws(CertificateError) in
            try ServerCertificates(files)
        }
        cipher = try configuration.encryptionKeys.map { path throws(StoreError) in try ValueCipher(path: path) }
        var random = SystemRandomNumberGenerator()
        database = try SQLiteDatabase(
            .init(
                path: configuration.data, durability: configuration.durability,
                maximumDrift: configuration.maximumDrift, readers: 3, bootID: BootID.read(), cipher: cipher),
            now: SystemClock.now(), random: &random)
        switch database.newEpochReason {
        case .machineCrashed:
            logger.warning("The machine crashed while commits were not fsynced: starting a new epoch")
        case .logIsMissing:
            logger.warning(
                """
                The database was not closed, and its log (\(configuration.data)-wal) is not beside it: what was written last may be \
                missing. If it was moved without, stop this server and put both where they belong. Starting a new epoch
                """)
        case nil: break
        }
        committer = CommitterThread(head: database.state.head, logger: logger)
        readers = ReaderThreads(count: 2)
        group = MultiThreadedEventLoopGroup(numberOfThreads: configuration.threads)
        drivers = Self.makeDrivers(
            configuration, database, committer, readers, group, authority: access ?? OpenAuthority(), memory: memory)
        let drivers = drivers
        let checkpoints = checkpoints
        let committer = committer
        try checkpoints.start(database, noteFailure: { committer.noteCheckpointFailure($0) })
        let reader = PageReader(
            store: SQLiteReader(database: database), framing: Self.framing,
            noteFailure: { committer.noteReadFailure($0) })
        readers.start(reader: reader) { delivery, loop in drivers[loop].deliver(delivery) }
        try committer.start(
            database: database, loops: drivers.count, cacheSize: configuration.cacheSize,
            retention: configuration.tombstoneRetention, framing: Self.framing,
            publish: { batch in for driver in drivers { driver.deliver(.committed(batch)) } },
            checkpoints: checkpoints)
        for driver in drivers { driver.eventLoop.execute { driver.start() } }
    }

    private static func makeDrivers(
        _ configuration: ServerConfiguration, _ database: SQLiteDatabase, _ committer: CommitterThread,
        _ readers: ReaderThreads, _ group: MultiThreadedEventLoopGroup, authority: any Authority,
        memory: InboundMemory
    ) -> [LoopDriver] {
        var limits = TransportLimits(
            maximumMessageSize: configuration.maximumMessageSize, maximumValueSize: configuration.maximumValueSize,
            maximumBacklog: configuration.maximumBacklog, drainTimeout: .milliseconds(configuration.drainTimeout),
            pingInterval: .milliseconds(configuration.pingInterval),
            pingTimeout: .milliseconds(configuration.pingTimeout),
            stallTimeout: .milliseconds(configuration.stallTimeout))
        limits.handshakeTimeout = .milliseconds(configuration.handshakeTimeout)
        limits.maximumHeadSize = configuration.maximumHeadSize
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
            }, unframe: unframe, authority: authority, memory: memory)
        let drivers = group.makeIterator().enumerated().map { index, eventLoop in
            var shard = Shard.Configuration(loop: index, welcome: welcome, framing: framing)
            shard.rate = configuration.rate
            shard.authenticationTimeout = UInt64(configuration.handshakeTimeout)
            shard.idleTimeout = configuration.idleTimeout
            return LoopDriver(
                eventLoop: eventLoop, loop: index, shard: Shard(configuration: shard, state: database.state),
                limits: limits, services: services)
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
        let isForThisMachine = BindPolicy.isLoopback(configuration.host)
        let policy = RequestPolicy(
            allowed: configuration.allowedOrigins, isLoopbackOnly: isForThisMachine,
            requiresLocalHost: isForThisMachine && access == nil)
        let others: [any API] = [RESTAPI()]
        let probes = OperationsAPI.Probes(
            problem: { committer.measured.problem },
            warnings: { [certificates] in
                reloader.problems + [certificates?.problem(at: Int(SystemClock.now() / 1_000))].compactMap { $0 }
            }, metrics: { try await metrics(of: others) })
        let callers = Callers(authority: authority, gate: gate, hasRules: access != nil)
        let apis: [any API] = [OperationsAPI(probes: probes, callers: callers)] + others
        let table = RouteTable(apis)
        let http = HTTPService(
            apis: apis, routes: table, policy: policy, connections: InProcessConnections(drivers, authority),
            bodies: .init(
                memory: memory, maximumSize: configuration.maximumMessageSize, routes: table, authority: access),
            rate: configuration.rate, activity: activity, logger: logger)
        let routes = HandshakeRoutes(
            upgrades: apis.flatMap(\.upgrades),
            handshake: Handshake(policy: policy, compression: configuration.compression), authority: authority,
            gate: gate, memory: memory, refusals: refusals,
            takeHTTP: { try http.take($0, isUpgrade: $1, shakeHands: $2) })
        let listener = try await Listener.bind(
            host: configuration.host, port: configuration.port, group: group, drivers: drivers, path: "/sync",
            routes: routes, certificates: certificates)
        watchFiles()
        return listener
    }

    private var authority: any Authority { access ?? OpenAuthority() }

    private func watchFiles() {
        var subjects: [FileWatch.Subject] = []
        if let access {
            subjects.append(reloader.accessRules(access) { for driver in drivers { driver.rulesChanged() } })
        }
        if let certificates { subjects.append(reloader.certificates(certificates)) }
        if let cipher {
            subjects.append(reloader.encryptionKeys(cipher, of: database) { committer.requestRekeying() })
        }
        if !subjects.isEmpty { watch.start(subjects) }
    }

    /// Looks at the files anew whose changes count. What cannot be used changes nothing, and is said in the log.
    func requestReload() {
        watch.poke()
    }

    /// The page of all metrics: the server's own, and those that APIs add.
    private func metrics(of apis: [any API]) async throws -> String {
        let own: [any MetricsSource] = [
            AdmissionMetrics(gate: gate, memory: memory, refusals: refusals), LoopMetrics(drivers: drivers),
            CommitMetrics(committer: committer),
        ]
        var page = PrometheusText()
        for source in own + apis.flatMap(\.metrics) { try await source.write(to: &page) }
        return page.text
    }

    /// Waits until what requests over HTTP are answered with has been taken, for a moment.
    private func answersAreWritten() async {
        let end = ContinuousClock.now + .seconds(2)
        while !activity.isIdle, ContinuousClock.now < end { try? await Task.sleep(for: .milliseconds(5)) }
    }

    /// Stops in the order in which things depend on each other: connections are told and drained, then writes, then
    /// reads end, then the database is closed. A failure of one is no reason not to stop the next.
    ///
    /// - Returns: why the database could not be closed as it should be.
    func stop() async -> StoreError? {
        watch.stop()
        for future in drivers.map({ $0.shutDown() }) { try? await future.get() }
        await answersAreWritten()
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
