import Dispatch
import Foundation
import Loops
import SQLiteStore
import SyncEngine
import Synchronization

/// A few threads that read pages and lookups for the event loops, which never wait for a disk themselves.
final class ReaderThreads: Sendable {
    private struct Queue {
        var jobs: [(job: ReadJob, loop: Int)] = []
        /// The place of the next job; what is before has been taken.
        var next = 0
        var isStopping = false
    }

    private let queue = Mutex(Queue())
    private let available = DispatchSemaphore(value: 0)
    private let stopped = DispatchSemaphore(value: 0)
    private let count: Int

    init(count: Int) {
        self.count = count
    }

    func submit(_ job: ReadJob, loop: Int) {
        queue.withLock { $0.jobs.append((job, loop)) }
        available.signal()
    }

    /// Starts the threads.
    ///
    /// - Parameter deliver: is given each result, with the index of the event loop that it is for.
    func start(reader: PageReader<SQLiteReader>, deliver: @escaping @Sendable (LoopDelivery, _ loop: Int) -> Void) {
        for index in 0..<count {
            let thread = Thread { [self] in
                ThreadRole.name("starling-read")
                ThreadRole.yieldToOthers()
                while let (job, loop) = take() {
                    switch job {
                    case .page(let request): deliver(.page(reader.page(request, now: SystemClock.now())), loop)
                    case .lookups(let request):
                        deliver(.lookups(reader.look(up: request, now: SystemClock.now())), loop)
                    }
                }
                stopped.signal()
            }
            thread.name = "starling-read-\(index)"
            thread.start()
        }
    }

    private func take() -> (job: ReadJob, loop: Int)? {
        while true {
            available.wait()
            let (job, isStopping) = queue.withLock { queue -> ((job: ReadJob, loop: Int)?, Bool) in
                guard queue.next < queue.jobs.count else { return (nil, queue.isStopping) }
                let job = queue.jobs[queue.next]
                queue.next += 1
                if queue.next == queue.jobs.count || queue.next >= 1_024 {
                    queue.jobs.removeFirst(queue.next)
                    queue.next = 0
                }
                return (job, false)
            }
            if let job { return job }
            if isStopping { return nil }
        }
    }

    /// Ends the threads; jobs that are waiting are still done.
    func stop() {
        queue.withLock { $0.isStopping = true }
        for _ in 0..<count { available.signal() }
        for _ in 0..<count { stopped.wait() }
    }
}
