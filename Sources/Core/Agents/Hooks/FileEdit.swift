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
    init(file: [UInt8], changes: [Change], id: Segment?, keepsContent: Bool) {
        self.file = file
        self.id = id
        count = changes.count
        let keeps = keepsContent && !SecretFile.isSecret(file)
        var left = Self.maximumContents
        self.changes = changes.prefix(Self.maximumChanges).map { change in
            var change = change
            let room = keeps ? min(left, Self.maximumContent) / 2 : 0
            for side in [\Change.old, \Change.new] {
                guard let text = change[keyPath: side] else { continue }
                let kept = Self.prefix(of: text, room)
                if kept.count < text.count, keeps { change.isCut = true }
                change[keyPath: side] = keeps && (room > 0 || text.isEmpty) ? kept : nil
                left -= kept.count
            }
            return change
        }
    }

    /// The beginning of a text, without half a character.
    static func prefix(of text: [UInt8], _ length: Int) -> [UInt8] {
        guard text.count > length else { return text }
        var end = length
        while end > 0, text[end] & 0xC0 == 0x80 { end -= 1 }
        return Array(text[..<end])
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
    /// - Parameter old: nil: nobody knows what was there.
    init(replacing old: [UInt8]?, by new: [UInt8]) {
        let before = old.map(Self.lines)
        let after = Self.lines(new)
        self.init(
            old: old, new: new, oldLines: before?.count, newLines: after.count,
            changedLines: Self.difference(before ?? [], after))
    }

    /// As ``FileEdit/json(agent:session:)`` has it, or as the seed's callers do: what there is, whatever else it is.
    init(_ json: [UInt8]) {
        guard let object = try? JSONObject(json) else {
            let text = JSONObject.string(json).map { Array($0.utf8) } ?? json
            self.init(replacing: nil, by: text)
            return
        }
        let old = object.string("old").map { Array($0.utf8) }
        let new = object.string("new").map { Array($0.utf8) }
        let isCounted = object.raw("changed_lines") != nil
        self.init(replacing: old, by: new ?? (isCounted ? [] : json))
        guard isCounted else { return }
        func count(_ name: String) -> Int? { object.integer(name).flatMap { 0...1_000_000_000 ~= $0 ? Int($0) : nil } }
        self.new = new
        oldLines = count("old_lines")
        newLines = count("new_lines")
        changedLines = count("changed_lines") ?? 0
        isCut = object.bool("truncated") ?? false
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
