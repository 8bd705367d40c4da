import Foundation

/// How far something has got, on one line of a terminal; nothing where standard error is none.
struct Progress {
    private static let isShown = isatty(STDERR_FILENO) == 1
    private let what: String
    private var shownAt = ContinuousClock.now - .seconds(1)

    init(_ what: String) {
        self.what = what
    }

    mutating func show(_ text: @autoclosure () -> String) {
        guard Self.isShown, ContinuousClock.now - shownAt >= .milliseconds(100) else { return }
        shownAt = .now
        Output.note("\r\(what): \(text())\u{1B}[K")
    }

    /// So much of so much, in bytes.
    mutating func show(_ done: Int, of total: Int) {
        show("\(total == 0 ? 100 : done * 100 / total) % of \(Self.size(total))")
    }

    /// Makes room for what is to be said next.
    func clear() {
        if Self.isShown { Output.note("\r\u{1B}[K") }
    }

    static func size(_ bytes: Int) -> String {
        switch bytes {
        case (10 << 20)...: "\(bytes >> 20) MiB"
        case (10 << 10)...: "\(bytes >> 10) KiB"
        default: "\(bytes) bytes"
        }
    }
}
