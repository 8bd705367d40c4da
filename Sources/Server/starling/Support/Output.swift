import Foundation
import SQLiteStore

/// What the commands print: at once, so that a pipe sees each line when it happens.
enum Output {
    static func line(_ text: String) {
        bytes(Array((text + "\n").utf8))
    }

    /// Writes to standard output. Where that cannot be done the command ends: quietly when nobody reads any more, as behind
    /// `head`, else with a sentence.
    static func bytes(_ bytes: some Collection<UInt8>) {
        guard let error = write(Array(bytes), to: STDOUT_FILENO) else { return }
        if error == EPIPE { exit(0) }
        complaint("cannot write the output: \(String(cString: strerror(error)))")
        exit(70)
    }

    /// Says on standard error what is wrong.
    static func complaint(_ text: String) {
        note("starling: \(text)\n")
    }

    /// Says what is done to a database of an earlier version.
    static func migration(of path: String) -> (Migration) -> Void {
        { migration in
            guard case .copied(let copy) = migration else { return }
            complaint(
                "\(path) gets a layout that no earlier version reads; as it was before it is kept as \(copy): remove that when you need no "
                    + "way back, and what is in it to be nowhere else")
        }
    }

    /// Writes to standard error as it is; what cannot be written is nobody's loss.
    static func note(_ text: String) {
        _ = write(Array(text.utf8), to: STDERR_FILENO)
    }

    /// - Returns: the error that kept something from being written; nil when all of it was.
    private static func write(_ bytes: [UInt8], to descriptor: Int32) -> Int32? {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Foundation.write(descriptor, $0.baseAddress, $0.count) }
            if count >= 0 {
                rest = rest.dropFirst(count)
            } else if errno != EINTR && errno != EAGAIN {
                return errno
            }
        }
        return nil
    }
}
