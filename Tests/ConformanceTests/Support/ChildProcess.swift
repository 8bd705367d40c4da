import Foundation
import Synchronization

/// A process started by a test. (Foundation's `Process` hangs now and then when it is started on one thread and waited
/// for on another, and lets children inherit each other's pipes.)
final class ChildProcess: Sendable {
    let pid: Int32
    private let status = Mutex<Int32?>(nil)

    /// Starts a program.
    ///
    /// - Parameters:
    ///   - input, output, errors: the child's descriptors 0, 1 and 2.
    init(
        _ program: URL, _ arguments: [String], environment: [String: String] = [:],
        input: Int32, output: Int32, errors: Int32
    ) throws {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        for (target, source) in [input, output, errors].enumerated() {
            posix_spawn_file_actions_adddup2(&actions, source, Int32(target))
        }
        let variables = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        var argv = ([program.path] + arguments).map { strdup($0) } + [nil]
        var envp = variables.map { strdup("\($0.key)=\($0.value)") } + [nil]
        defer { for pointer in argv + envp { free(pointer) } }
        var pid: pid_t = 0
        let code = posix_spawn(&pid, program.path, &actions, nil, &argv, &envp)
        guard code == 0 else { throw TestFailure("cannot start \(program.path): \(String(cString: strerror(code)))") }
        self.pid = pid
    }

    deinit {
        kill(SIGKILL)
        _ = wait()
    }

    func kill(_ signal: Int32) {
        status.withLock { if $0 == nil { Foundation.kill(pid, signal) } }
    }

    /// Waits for the end.
    ///
    /// - Returns: the exit status, or 128 and the signal that ended it.
    func wait() -> Int32 {
        status.withLock { status in
            if let status { return status }
            var raw: Int32 = 0
            while waitpid(pid, &raw, 0) < 0, errno == EINTR {}
            let signal = raw & 0x7F
            let code = signal == 0 ? (raw >> 8) & 0xFF : 128 + signal
            status = code
            return code
        }
    }
}

/// A pipe that no child inherits but through the descriptors that it is given.
struct ChildPipe {
    let reader: Int32
    let writer: Int32

    init() throws {
        var descriptors: [Int32] = [0, 0]
        guard pipe(&descriptors) == 0 else { throw TestFailure("cannot make a pipe: errno \(errno)") }
        for descriptor in descriptors { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
        (reader, writer) = (descriptors[0], descriptors[1])
    }

    /// Reads what is there, and waits for it; empty at the end.
    func read() -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 65_536)
        let count = Foundation.read(reader, &bytes, bytes.count)
        return Array(bytes.prefix(max(0, count)))
    }

    /// Reads to the end, when all writers have closed their side.
    func readAll() -> String {
        var all: [UInt8] = []
        while true {
            let bytes = read()
            if bytes.isEmpty { return String(decoding: all, as: UTF8.self) }
            all += bytes
        }
    }
}
