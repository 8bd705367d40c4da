@preconcurrency import Dispatch
import Foundation
import Synchronization

/// Hears SIGINT and SIGTERM, which then end nothing by themselves.
final class StopSignals: Sendable {
    private let heard = Atomic(false)
    private let sources: [any DispatchSourceSignal]

    /// - Parameter note: is called each time.
    init(note: @escaping @Sendable () -> Void = {}) {
        sources = [SIGINT, SIGTERM].map { number in
            signal(number, SIG_IGN)
            return DispatchSource.makeSignalSource(signal: number)
        }
        for source in sources {
            source.setEventHandler { [weak self] in
                self?.heard.store(true, ordering: .relaxed)
                note()
            }
            source.resume()
        }
    }

    /// Whether one has come.
    var isStopping: Bool { heard.load(ordering: .relaxed) }
}
