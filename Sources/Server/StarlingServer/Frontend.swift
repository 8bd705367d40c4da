import Access
import Logging
import Loops
import NIOCore
import SQLiteStore
import SyncEngine
import Transport
import WebSocket

/// Everything between a socket and the event loops: certificates, access rules, limits on connections, the APIs, and the files
/// that all that is read from.
struct Frontend: Sendable {
    private let configuration: ServerConfiguration
    private let logger: Logger
    private let gate: ConnectionGate
    private let refusals: RefusalLog
    private let access: AccessControl?
    private let certificates: ServerCertificates?
    private let watch = FileWatch()
    private let activity = HTTPActivity()
    private let reloader: Reloader
    let memory: InboundMemory
    let cipher: ValueCipher?

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
    }

    var authority: any Authority { access ?? OpenAuthority() }

    /// Starts to accept connections.
    func listen(for backend: Backend) async throws -> any Channel {
        let isForThisMachine = BindPolicy.isLoopback(configuration.host)
        let policy = RequestPolicy(
            allowed: configuration.allowedOrigins, isLoopbackOnly: isForThisMachine,
            requiresLocalHost: isForThisMachine && access == nil)
        let others: [any API] = [
            RESTAPI(), HooksAPI(state: backend.services.hooks),
            ModelContextAPI(
                services: backend.modelContext,
                resource: ProtectedResource(access: access, isEncrypted: certificates != nil)),
        ]
        let probes = OperationsAPI.Probes(
            problem: { backend.health.problem },
            warnings: { [certificates] in
                reloader.problems + [certificates?.problem(at: SystemClock.now())].compactMap { $0 }
            }, metrics: { try await metrics(of: backend, others) })
        let callers = Callers(authority: authority, gate: gate, hasRules: access != nil)
        let apis: [any API] = [OperationsAPI(probes: probes, callers: callers)] + others
        let table = RouteTable(apis)
        let http = HTTPService(
            apis: apis, routes: table, policy: policy, connections: InProcessConnections(backend.drivers, authority),
            bodies: .init(
                memory: memory, maximumSize: configuration.messageSize, routes: table, authority: access),
            rate: configuration.rate, activity: activity, logger: logger)
        let routes = HandshakeRoutes(
            upgrades: apis.flatMap(\.upgrades),
            handshake: Handshake(policy: policy, compression: configuration.compression), authority: authority,
            gate: gate, memory: memory, refusals: refusals,
            takeHTTP: { try http.take($0, isUpgrade: $1, shakeHands: $2) })
        let listener = try await Listener.bind(
            host: configuration.host, port: configuration.port, group: backend.group, drivers: backend.drivers,
            path: "/sync", routes: routes, certificates: certificates)
        watchFiles(for: backend)
        return listener
    }

    private func watchFiles(for backend: Backend) {
        var subjects: [FileWatch.Subject] = []
        if let access {
            subjects.append(reloader.accessRules(access) { for driver in backend.drivers { driver.rulesChanged() } })
        }
        if let certificates { subjects.append(reloader.certificates(certificates)) }
        if let cipher {
            subjects.append(
                reloader.encryptionKeys(cipher, of: backend.database) { backend.committer.requestRekeying() })
        }
        if !subjects.isEmpty { watch.start(subjects) }
    }

    /// Looks at the files anew whose changes count. What cannot be used changes nothing, and is said in the log.
    func requestReload() {
        watch.poke()
    }

    /// The page of all metrics: the server's own, and those that APIs add.
    private func metrics(of backend: Backend, _ apis: [any API]) async throws -> String {
        let own: [any MetricsSource] = [
            AdmissionMetrics(gate: gate, memory: memory, refusals: refusals), LoopMetrics(drivers: backend.drivers),
            CommitMetrics(committer: backend.committer, health: backend.health),
        ]
        var page = PrometheusText()
        for source in own + apis.flatMap(\.metrics) { try await source.write(to: &page) }
        return page.text
    }

    /// Waits until there was no connection for so long.
    ///
    /// - Returns: false where the task was cancelled before.
    func isUnused(for patience: Duration) async -> Bool {
        var accepted = gate.counts.accepted
        var since = ContinuousClock.now
        while ContinuousClock.now - since < patience {
            do { try await Task.sleep(for: .milliseconds(250)) } catch { return false }
            let counts = gate.counts
            if counts.open > 0 || counts.accepted != accepted { since = .now }
            accepted = counts.accepted
        }
        return true
    }

    /// Reads no more files.
    func stop() { watch.stop() }

    /// Waits until what requests over HTTP are answered with has been taken, for a moment.
    func answersAreWritten() async {
        let end = ContinuousClock.now + .seconds(2)
        while !activity.isIdle, ContinuousClock.now < end { try? await Task.sleep(for: .milliseconds(5)) }
    }
}
