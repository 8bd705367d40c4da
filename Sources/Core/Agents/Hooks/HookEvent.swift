import Registers
import SyncProtocol

/// What happened, as far as anything is done about it. Harnesses call the same by several names, and have events that are of no use here, or that nobody
/// knows of yet: those are ``ignored``.
package enum HookEvent: Equatable, Sendable {
    /// A session begins, or goes on.
    case sessionStarted(source: [UInt8]?)
    /// Somebody has asked for something: what, in words.
    case taskStarted(text: [UInt8])
    /// A file is about to be changed.
    case willEdit(file: [UInt8])
    case edited(FileEdit)
    case toolFailed(tool: [UInt8]?, file: [UInt8]?, error: [UInt8]?)
    /// An agent has said its last for now.
    case spoke(message: [UInt8]?, isSubagent: Bool)
    case taskEnded(text: [UInt8]?, hasFailed: Bool)
    case sessionEnded(reason: [UInt8]?)
    /// Something that is worth a line in the log, and no more.
    case noted
    case ignored

    /// The names of Claude Code, of GitHub Copilot's CLI and of the seed, in small letters and without hyphens.
    enum Name: String, CaseIterable {
        case sessionStart = "sessionstart"
        case userPromptSubmit = "userpromptsubmit"
        case userPromptSubmitted = "userpromptsubmitted"
        case subagentStart = "subagentstart"
        case taskCreated = "taskcreated"
        case preTask = "pretask"
        case preToolUse = "pretooluse"
        case postToolUse = "posttooluse"
        case postEdit = "postedit"
        case postToolUseFailure = "posttoolusefailure"
        case stop
        case stopFailure = "stopfailure"
        case subagentStop = "subagentstop"
        case taskCompleted = "taskcompleted"
        case postTask = "posttask"
        case sessionEnd = "sessionend"
        case preCompact = "precompact"
        case postCompact = "postcompact"
        case notification
        case errorOccurred = "erroroccurred"

        init?(_ name: String) { self.init(rawValue: name.lowercased().filter { $0 != "-" }) }

        /// Whether somebody has asked for something, and not an agent of another.
        var isPrompt: Bool { self == .userPromptSubmit || self == .userPromptSubmitted || self == .preTask }

        /// Whether it is one of the seed's, whose answers are the seed's.
        var isSeed: Bool { self == .preTask || self == .postEdit || self == .postTask }
    }
}

/// Where a file's contents are nobody's business.
package enum SecretFile {
    private static let beginnings = [".env", "id_"]
    private static let endings = [".env", ".pem", ".key", ".p12", ".pfx", ".jks", ".keystore", ".kdbx"]
    private static let words = ["credential", "secret", "service-account", "service_account", ".tfstate", ".env."]
    private static let names: Set<String> = [
        ".netrc", ".pgpass", ".npmrc", ".pypirc", ".htpasswd", ".git-credentials", "shadow",
    ]
    private static let folders: Set<String> = [".ssh", ".aws", ".gnupg", ".kube", ".docker", ".gcloud"]

    /// Endings of copies that tools and people make.
    private static let copies = [".bak", ".old", ".orig", ".save", ".swp", ".swo", ".tmp", ".copy", "~"]

    /// Whether a path is that of a file with secrets, by its name: of such a file no content is kept. What is no letter of English, and what stands
    /// around a name without a meaning, does not count.
    package static func isSecret(_ path: [UInt8]) -> Bool {
        var text = String(decoding: path.filter { 0x20..<0x7F ~= $0 }, as: UTF8.self).lowercased()
        text = text.replacing("%2e", with: ".").replacing("%2f", with: "/")
        // A stream of a file's, as one system has it.
        if let stream = text.firstRange(of: "::$") { text = String(text[..<stream.lowerBound]) }
        let parts = text.split { $0 == "/" || $0 == "\\" }.map(trimmed).filter { !$0.isEmpty }
        guard let name = parts.last else { return false }
        return isName(name) || name.first == "." && isName(String(name.dropFirst()))
            || parts.contains { folders.contains($0) }
    }

    private static func trimmed(_ part: Substring) -> String {
        var part = part
        while let last = part.last, last == "." || last == " " { part.removeLast() }
        while part.first == " " { part.removeFirst() }
        while let copy = copies.first(where: { part.hasSuffix($0) && part.utf8.count > $0.utf8.count }) {
            part = part.dropLast(copy.count)
        }
        return String(part)
    }

    private static func isName(_ name: String) -> Bool {
        beginnings.contains(where: name.hasPrefix) || endings.contains(where: name.hasSuffix)
            || words.contains { name.contains($0) } || names.contains(name)
    }
}

/// The names that a file has: as it was given, from the root, and from the folder that somebody works in.
package enum FileNames {
    /// - Parameter folder: absolute; nil: nobody says.
    package static func all(of file: [UInt8], in folder: [UInt8]?) -> [[UInt8]] {
        let slash = UInt8(ascii: "/")
        var names = [file]
        func add(_ name: [UInt8]) { if !name.isEmpty, !names.contains(name) { names.append(name) } }
        let isAbsolute = file.first == slash
        guard isAbsolute || folder?.first == slash else { return names }
        let whole = normalized(isAbsolute ? file : (folder ?? []) + [slash] + file)
        add(whole)
        if let folder, folder.first == slash {
            let start = normalized(folder) + [slash]
            if whole.starts(with: start) { add(Array(whole.dropFirst(start.count))) }
        }
        return names
    }

    /// An absolute path without empty segments, `.` and `..`.
    private static func normalized(_ path: [UInt8]) -> [UInt8] {
        var segments: [ArraySlice<UInt8>] = []
        for segment in path.split(separator: UInt8(ascii: "/")) {
            if segment.elementsEqual(".".utf8) { continue }
            if segment.elementsEqual("..".utf8) { _ = segments.popLast() } else { segments.append(segment) }
        }
        return segments.flatMap { [UInt8(ascii: "/")] + $0 }
    }
}
