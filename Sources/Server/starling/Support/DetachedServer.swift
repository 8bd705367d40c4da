import Foundation
import SyncClient

/// A server that outlives the command which starts it, and ends when nobody uses it.
struct DetachedServer {
    /// After how many seconds without a connection it ends.
    private static let idleTime = 600
    /// How long it may take to listen.
    private static let patience = Duration.seconds(20)

    private let endpoint: Endpoint
    private let dialer: Dialer

    /// - Throws: `UsageError` where the server would be on another machine.
    init(_ url: String, _ dialer: Dialer) throws {
        self.dialer = dialer
        endpoint = try Endpoint(url)
        guard ["127.0.0.1", "::1", "localhost"].contains(endpoint.host), !endpoint.isSecure else {
            throw UsageError("--spawn starts a server on this machine, and \(url) is not that")
        }
    }

    /// The folder of its database: where programs keep what is a user's (the XDG Base Directory Specification).
    static var folder: String {
        let named = ProcessInfo.processInfo.environment["XDG_DATA_HOME"].flatMap { $0.hasPrefix("/") ? $0 : nil }
        return (named ?? HookScope.home + "/.local/share") + "/starling"
    }

    /// Starts it, where nothing listens, and waits until something does. Of two that are started at once one has the port, and that is enough.
    func start() async throws {
        if await dialer.isReachable() { return }
        let folder = Self.folder
        do {
            try FileManager.default.createDirectory(
                atPath: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        } catch {
            throw UsageError("cannot make \(folder): \(error.localizedDescription)")
        }
        let child = try Self.spawn(
            [
                CommandLine.executable, "serve", "--host", endpoint.host == "localhost" ? "127.0.0.1" : endpoint.host,
                "--port", "\(endpoint.port)", "--data", folder + "/starling.db", "--exit-when-idle", "\(Self.idleTime)",
            ], log: folder + "/server.log")
        let end = ContinuousClock.now + Self.patience
        while await !dialer.isReachable() {
            // Another one may have been first.
            let isOver = waitpid(child, nil, WNOHANG) == child
            if isOver, await dialer.isReachable() { return }
            guard ContinuousClock.now < end, !isOver else {
                throw ClientError(
                    .unavailable,
                    "the server that was started \(isOver ? "has ended" : "does not listen"); see \(folder)/server.log")
            }
            try await Task.sleep(for: .milliseconds(50))
        }
    }

    #if os(macOS)
        private static let newSession = Int16(POSIX_SPAWN_SETSID)
    #else
        // A macro of glibc's that Swift does not see (spawn.h).
        private static let newSession: Int16 = 0x80
    #endif

    /// Starts a program in a session of its own (setsid(2)): what ends this one does not end it.
    private static func spawn(_ arguments: [String], log: String) throws -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, log, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        posix_spawnattr_setflags(&attributes, newSession)
        var words: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
        defer { for word in words { free(word) } }
        var pid = pid_t()
        let problem = posix_spawn(&pid, arguments[0], &actions, &attributes, &words, environ)
        guard problem == 0 else {
            throw UsageError("cannot start \(arguments[0]): \(String(cString: strerror(problem)))")
        }
        return pid
    }
}
