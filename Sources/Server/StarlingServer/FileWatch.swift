import Foundation
import Synchronization

/// Notices that files have changed, by looking at them every second: that works on every file system, and with every way
/// of putting a file in the place of another.
final class FileWatch: Sendable {
    private struct State: Equatable {
        var modified: Time
        var inode: UInt64
        var size: Int64
    }

    private struct Time: Equatable {
        var seconds: Int
        var nanoseconds: Int
    }

    private let isStopping = Mutex(false)
    private let wake = DispatchSemaphore(value: 0)
    private let stopped = DispatchSemaphore(value: 0)
    private let isStarted = Mutex(false)

    /// Starts to watch.
    ///
    /// - Parameters:
    ///   - files: names the files, asked anew each time.
    ///   - changed: is called on the watch's own thread, when one of them has changed or ``poke()`` was called.
    func start(_ files: @escaping @Sendable () -> [String], _ changed: @escaping @Sendable () -> Void) {
        isStarted.withLock { $0 = true }
        let thread = Thread { [self] in
            var last = Self.look(files())
            while true {
                let isPoked = wake.wait(timeout: .now() + 1) == .success
                if isStopping.withLock({ $0 }) { break }
                let now = Self.look(files())
                guard isPoked || now != last else { continue }
                changed()
                last = Self.look(files())
            }
            stopped.signal()
        }
        thread.name = "starling-files"
        thread.start()
    }

    /// Does as if a file had changed.
    func poke() {
        wake.signal()
    }

    func stop() {
        guard isStarted.withLock({ $0 }) else { return }
        isStopping.withLock { $0 = true }
        wake.signal()
        stopped.wait()
    }

    private static func look(_ files: [String]) -> [String: State] {
        var states: [String: State] = [:]
        for file in files {
            var status = stat()
            guard stat(file, &status) == 0 else { continue }
            #if canImport(Darwin)
                let time = status.st_mtimespec
            #else
                let time = status.st_mtim
            #endif
            states[file] = State(
                modified: Time(seconds: Int(time.tv_sec), nanoseconds: Int(time.tv_nsec)),
                inode: UInt64(status.st_ino), size: Int64(status.st_size))
        }
        return states
    }
}
