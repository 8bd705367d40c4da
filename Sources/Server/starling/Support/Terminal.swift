import Foundation

/// The terminal that the standard output is, where it is one.
enum Terminal {
    static var isThere: Bool { isatty(STDOUT_FILENO) == 1 }

    private static var size: (width: Int, height: Int) {
        var size = winsize()
        guard ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0, size.ws_row > 0 else {
            return (80, 24)
        }
        return (Int(size.ws_col), Int(size.ws_row))
    }

    static var width: Int { size.width }
    static var height: Int { size.height }

    /// Shows `lines` in the place of what was there.
    static func draw(_ lines: [String]) {
        // Home; each line to its end; and what is below.
        let text = lines.map { "\($0)\u{1B}[K" }.joined(separator: "\r\n")
        Output.bytes(Array("\u{1B}[H\(text)\u{1B}[J".utf8))
    }
}
