import Foundation
import Synchronization

/// A command that the shell runs, with its output gathered.
final class ShellCommand: Sendable {
    private struct State {
        var output: [UInt8] = []
        var errors: [UInt8] = []
        /// How many of the two pipes are still open.
        var open = 2
    }

    private let process = Process()
    private let state = Mutex(State())

    /// - Parameter environment: what it gets beside this process's, each name behind `STARLING_`.
    init(_ command: String, environment: [String: String]) {
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        process.arguments = ["-c", command]
        var all = ProcessInfo.processInfo.environment
        // It is this worker's, and not what it runs.
        all["STARLING_TOKEN"] = nil
        for (name, value) in environment { all["STARLING_\(name)"] = value }
        process.environment = all
    }

    /// Starts it, with `input` to read.
    func start(input: [UInt8]) throws {
        let (stdin, stdout, stderr) = (Pipe(), Pipe(), Pipe())
        process.standardInput = stdin
        process.standardOutput = stdout
        process.standardError = stderr
        gather(stdout) { $0.output += $1 }
        gather(stderr) { $0.errors += $1 }
        // Somebody who does not read what he is given is no failure of this process.
        signal(SIGPIPE, SIG_IGN)
        try process.run()
        DispatchQueue.global().async {
            try? stdin.fileHandleForWriting.write(contentsOf: Data(input))
            try? stdin.fileHandleForWriting.close()
        }
    }

    private func gather(_ pipe: Pipe, _ add: @escaping @Sendable (inout State, [UInt8]) -> Void) {
        let handle = pipe.fileHandleForReading
        Thread.detachNewThread { [self] in
            while let data = try? handle.read(upToCount: 1 << 16), !data.isEmpty {
                state.withLock { add(&$0, Array(data)) }
            }
            state.withLock { $0.open -= 1 }
        }
    }

    /// Whether it has ended, and all that it has printed was read.
    var hasEnded: Bool { !process.isRunning && state.withLock { $0.open == 0 } }

    func result() -> (status: Int32, output: [UInt8], errors: [UInt8]) {
        process.waitUntilExit()
        return state.withLock { (process.terminationStatus, $0.output, $0.errors) }
    }

    /// Has it end, and what it has started.
    func end() {
        guard process.isRunning else { return }
        // It leads a process group of its own where the system's library gives it one.
        if getpgid(process.processIdentifier) == process.processIdentifier {
            kill(-process.processIdentifier, SIGTERM)
        } else {
            process.terminate()
        }
    }
}
