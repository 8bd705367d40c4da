import Foundation
import Synchronization

/// Notices that files have changed, by looking at them every second: that works on every file system, and with every way
/// of putting a file in the place of another.
final class FileWatch: Sendable {
    private struct State: Equatable {
        var modified: Date?
        /// The file's number: another one where a file was put in the place of another.
        var number: Int?
        var size: Int?
    }

    private let isStopping = Mutex(false)
    private let wake = DispatchSemaphore(value: 0)
    private let stopped = DispatchSemaphore(value: 0)
    private let isStarted = Mutex(false)

    /// Something that is made of files.
    struct Subject: Sendable {
        /// Names the files, asked anew each time.
        var files: @Sendable () -> [String]
        /// Is called on the watch's own thread when one of them has changed or ``poke()`` was called, and once at the start,
        /// since nobody looked before that. Says whether the files could be used; if not it is called again a second later,
        /// as what is missing may be a file that is not known yet.
        var changed: @Sendable (_ isFirst: Bool) -> Bool
    }

    /// Starts to watch.
    func start(_ subjects: [Subject]) {
        isStarted.withLock { $0 = true }
        let thread = Thread { [self] in
            var looks = subjects.map { Self.look($0.files()) }
            var settled = subjects.map { $0.changed(true) }
            while true {
                let isPoked = wake.wait(timeout: .now() + 1) == .success
                if isStopping.withLock({ $0 }) { break }
                for (place, subject) in subjects.enumerated() {
                    // As they are before they are read: what changes meanwhile is a change at the next look.
                    let now = Self.look(subject.files())
                    guard isPoked || now != looks[place] || !settled[place] else { continue }
                    looks[place] = now
                    settled[place] = subject.changed(false)
                }
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
            // Attributes of a link would be its own.
            let path = URL(filePath: file).resolvingSymlinksInPath().path
            guard let attributes = try? FileManager.default.attributesOfItem(atPath: path) else { continue }
            states[file] = State(
                modified: attributes[.modificationDate] as? Date, number: attributes[.systemFileNumber] as? Int,
                size: attributes[.size] as? Int)
        }
        return states
    }
}
