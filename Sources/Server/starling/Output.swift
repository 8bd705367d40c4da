import Foundation

/// What the commands print: at once, so that a pipe sees each line when it happens.
enum Output {
    static func line(_ text: String) {
        FileHandle.standardOutput.write(Data((text + "\n").utf8))
    }

    /// Says on standard error what is wrong.
    static func complaint(_ text: String) {
        FileHandle.standardError.write(Data("starling: \(text)\n".utf8))
    }
}
