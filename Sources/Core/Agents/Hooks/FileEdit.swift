package import Registers
import SyncProtocol

/// What was changed in a file.
package struct FileEdit: Equatable, Sendable {
    /// How much of a change is kept, in bytes, half of it of what was there and half of what is; and of all changes of an edit together.
    package static let maximumContent = 8 << 10
    package static let maximumContents = 64 << 10
    /// How many changes are kept of an edit.
    package static let maximumChanges = 256
    /// In how many lines an edit has to change a file to be worth knowing.
    static let significance = 10

    package struct Change: Equatable, Sendable {
        /// What there was, and what there is instead; nil: nobody says, or it is not kept.
        package var old: [UInt8]?
        package var new: [UInt8]?
        /// How many lines that is; nil: nobody says.
        package var oldLines: Int?
        package var newLines: Int?
        /// How many lines differ.
        package var changedLines: Int
        /// Whether there was more of it.
        package var isCut = false
    }

    package var file: [UInt8]
    package var changes: [Change]
    /// What tells one edit from another: a resend has the same.
    package var id: Segment?
    /// How many changes there were.
    package var count: Int

    /// In how many lines it changed the file.
    package var changedLines: Int { changes.reduce(0) { $0 + $1.changedLines } }

    /// Whether it is worth knowing beyond its session.
    package var isSignificant: Bool { changedLines > Self.significance || count > Self.significance }

    /// - Parameter keepsContent: whether what was changed may be kept, and not only how much.
    init(file: [UInt8], changes: [Change], count: Int, id: Segment?, keepsContent keeps: Bool) {
        self.file = file
        self.id = id
        self.count = count
        var left = Self.maximumContents
        self.changes = changes.prefix(Self.maximumChanges).map { change in
            var change = change
            let room = keeps ? min(left, Self.maximumContent) / 2 : 0
            for side in [\Change.old, \Change.new] {
                guard let text = change[keyPath: side] else { continue }
                let kept = TextPrefix.of(text, room)
                if kept.count < text.count, keeps { change.isCut = true }
                change[keyPath: side] = keeps && (room > 0 || text.isEmpty) ? kept : nil
                left -= kept.count
            }
            return change
        }
    }

    /// As it is kept: `{"file","changes":[{"old","new","old_lines","new_lines"}],…}`.
    package func json(agent: [UInt8], session: Segment) -> [UInt8] {
        var object = JSONWriter()
        object.add("file", file)
        object.add("changes", raw: changesJSON)
        if count > changes.count { object.add("change_count", number: count) }
        object.add("agent_id", agent)
        object.add("session_id", session)
        return object.finish()
    }

    var changesJSON: [UInt8] {
        var text = [UInt8(ascii: "[")]
        for (index, change) in changes.enumerated() {
            if index > 0 { text.append(UInt8(ascii: ",")) }
            var object = JSONWriter()
            if let old = change.old { object.add("old", old) }
            if let new = change.new { object.add("new", new) }
            object.add("old_lines", optional: change.oldLines.map(UInt64.init))
            object.add("new_lines", optional: change.newLines.map(UInt64.init))
            object.add("changed_lines", number: change.changedLines)
            if change.isCut { object.add("truncated", true) }
            text += object.finish()
        }
        return text + [UInt8(ascii: "]")]
    }
}

extension FileEdit.Change {
    /// How much of each side is taken apart where it is not compared, in bytes.
    private static let kept = FileEdit.maximumContent / 2

    /// - Parameters:
    ///   - old: nil, and what is no text: nobody knows what was there.
    ///   - left: how much may still be compared, in bytes of JSON.
    init(replacing old: HookJSON.Value?, by new: HookJSON.Value, _ left: inout Int) {
        let old = old.flatMap { $0.isString ? $0 : nil }
        let size = new.size + (old?.size ?? 0)
        guard size <= left else {
            let cut = (old: old?.string(Self.kept), new: new.string(Self.kept))
            let lines = (old: old?.lineCount, new: new.lineCount)
            self.init(
                old: cut.old?.text, new: cut.new?.text, oldLines: lines.old, newLines: lines.new,
                changedLines: max(lines.old ?? 0, lines.new), isCut: true)
            return
        }
        left -= size
        let (before, after) = (old?.string, new.string)
        let (oldLines, newLines) = (before.map(Self.lines), after.map(Self.lines))
        self.init(
            old: before, new: after, oldLines: oldLines?.count, newLines: newLines?.count,
            changedLines: Self.difference(oldLines ?? [], newLines ?? []))
    }

    /// As ``FileEdit/json(agent:session:)`` has it, or as the seed's callers do: what there is, whatever else it is.
    init(_ value: HookJSON.Value, _ left: inout Int) {
        guard let object = value.object else {
            self.init(replacing: nil, by: value, &left)
            if !value.isString {
                new = Array(value.word.prefix(Self.kept))
                (newLines, changedLines, isCut) = (1, 1, value.size > Self.kept)
            }
            return
        }
        guard object["changed_lines"] != nil else {
            guard let new = object["new"] ?? object["new_string"], new.isString else {
                self.init(old: nil, new: nil, oldLines: nil, newLines: nil, changedLines: 1)
                return
            }
            self.init(replacing: object["old"] ?? object["old_string"], by: new, &left)
            return
        }
        let (old, new) = (object["old"]?.string(Self.kept), object["new"]?.string(Self.kept))
        self.init(
            old: old?.text, new: new?.text, oldLines: object.integer("old_lines"),
            newLines: object.integer("new_lines"),
            changedLines: object.integer("changed_lines") ?? 0,
            isCut: object.bool("truncated") ?? false || old?.isCut ?? false || new?.isCut ?? false)
    }

    private static func lines(_ text: [UInt8]) -> [ArraySlice<UInt8>] {
        var lines = text.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        // What ends a line begins none.
        if lines.last?.isEmpty == true { lines.removeLast() }
        return lines
    }

    /// How many lines differ between what both begin and end with.
    private static func difference(_ old: [ArraySlice<UInt8>], _ new: [ArraySlice<UInt8>]) -> Int {
        let most = min(old.count, new.count)
        var same = 0
        while same < most, old[same] == new[same] { same += 1 }
        var end = 0
        while end < most - same, old[old.count - 1 - end] == new[new.count - 1 - end] { end += 1 }
        return max(old.count, new.count) - same - end
    }
}
