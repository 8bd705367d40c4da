import Registers
import SyncProtocol

/// The members of what a harness says, by whatever name it has for them.
struct HookFields {
    /// The greatest length of a file's path, in bytes.
    static let maximumPath = 4_096
    /// How much of what was changed is compared line by line, in bytes of JSON; of more it is only known how many lines it is.
    private static let compared = 256 << 10
    /// How many paths are looked at.
    private static let maximumPaths = 32

    private let object: HookJSON
    /// What a tool is asked to do. Of one harness it is an object, of another one the text of it; and whoever sends both may mean either.
    private let toolInputs: [HookJSON]

    init(_ object: HookJSON) {
        self.object = object
        toolInputs = ["tool_input", "toolArgs"].compactMap { name in
            object.object(name) ?? object[name]?.string.flatMap { HookJSON($0) }
        }
    }

    func name(_ names: String...) -> String? {
        names.lazy.compactMap { object.whole($0, 128) }.first.map { String(decoding: $0, as: UTF8.self) }
    }

    /// A text, cut to a length.
    func text(_ limit: Int, _ names: String...) -> [UInt8]? {
        guard let text = names.lazy.compactMap({ object.string($0, limit) }).first, !text.isEmpty else { return nil }
        return text
    }

    func segment(_ names: String...) -> Segment? {
        guard let name = names.first(where: { object[$0] != nil }) else { return nil }
        return object.whole(name, Segment.maximumLength).flatMap { try? Segment($0.span) }
    }

    func bool(_ name: String) -> Bool? { object.bool(name) }

    // MARK: Files

    private static let pathNames = ["file", "file_path", "filePath", "notebook_path", "path"]
    /// Where a path may stand, too.
    private static let otherPathNames = pathNames + ["filename", "glob", "old_path", "new_path"]

    var file: [UInt8]? {
        let paths =
            [object.whole("file", Self.maximumPath)]
            + (toolInputs + [object]).flatMap { input in
                Self.pathNames.lazy.map { input.whole($0, Self.maximumPath) }
            }
        return paths.lazy.compactMap { $0 }.first
    }

    /// Whether anything in it is the path of a file with secrets, or may be.
    var touchesSecret: Bool {
        let folder = object.string("cwd", Self.maximumPath)
        let places = toolInputs + [object] + [object.object("tool_response")].compactMap { $0 }
        let parts = places.flatMap { place in
            ["edits", "changes", "paths", "files"].flatMap { place[$0]?.elements(Self.maximumPaths)?.first ?? [] }
        }
        let values =
            (places + parts.compactMap(\.object)).flatMap { place in Self.otherPathNames.compactMap { place[$0] } }
            + places.flatMap { place in
                ["paths", "files"].flatMap { place[$0]?.elements(Self.maximumPaths)?.first ?? [] }
            }
        return values.contains { value in
            guard value.isString else { return false }
            // What cannot be told is not told to be harmless.
            guard let (path, isCut) = value.string(Self.maximumPath), !isCut else { return true }
            return SecretFile.isSecret(path) || FileNames.all(of: path, in: folder).contains(where: SecretFile.isSecret)
        }
    }

    /// What was changed; nil: nothing in a file.
    ///
    /// - Parameter isKnown: whether something was, though it may not be said what.
    func edit(isKnown: Bool, keepsContent: Bool) -> FileEdit? {
        guard let file, let changes = changes(isKnown: isKnown) ?? (isKnown ? ([], 0) : nil) else { return nil }
        return FileEdit(
            file: file, changes: changes.first, count: max(changes.count, object.integer("change_count") ?? 0),
            id: segment("tool_use_id", "toolUseId"), keepsContent: keepsContent && !touchesSecret)
    }

    private func changes(isKnown: Bool) -> (first: [FileEdit.Change], count: Int)? {
        var left = Self.compared
        if let (first, count) = object["changes"]?.elements(FileEdit.maximumChanges) {
            return (first.map { FileEdit.Change($0, &left) }, count)
        }
        for input in toolInputs + (isKnown ? [object] : []) {
            if let (first, count) = input["edits"]?.elements(FileEdit.maximumChanges) {
                return (first.compactMap(\.object).compactMap { Self.change($0, &left) }, count)
            }
            if let change = Self.change(input, &left) { return ([change], 1) }
            let names = ["content", "new_source", "file_text", "newContent"]
            guard let content = names.lazy.compactMap({ input[$0] }).first(where: \.isString) else { continue }
            // Some say what was there before.
            let before = object.object("tool_response")?["originalFile"] ?? input["oldContent"]
            return ([FileEdit.Change(replacing: before, by: content, &left)], 1)
        }
        return nil
    }

    private static func change(_ input: HookJSON, _ left: inout Int) -> FileEdit.Change? {
        guard let new = input["new_string"] ?? input["new_str"], new.isString else { return nil }
        return FileEdit.Change(replacing: input["old_string"] ?? input["old_str"], by: new, &left)
    }
}
