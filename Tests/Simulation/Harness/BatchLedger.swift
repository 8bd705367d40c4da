import Registers
import SyncEngine
import SyncProtocol

/// What must be true of batches. Each one has a name, which is in all values that it writes: `{"batch":…,"of":…,"place":…}`, with how
/// many values there are, and the index of this one among its writes.
struct BatchLedger {
    /// Keys that are written by batches alone, and by each of those all together.
    static let group = ["g:1", "g:2", "g:3"].map { Key(unchecked: Array($0.utf8)) }

    private struct Made {
        var firstRevision: Revision
        var at: WallTime
    }

    /// One value of a batch.
    private struct Part {
        var name: String
        var count: Int64
        var place: Int64
        var revision: Revision
    }

    private var made: [String: Made] = [:]
    /// The batches that have reached the disk, and when, whether or not anybody was told; and those that have in the commit under way.
    private var written: [String: WallTime] = [:]
    private var beingWritten: Set<String> = []
    private var parts: [Part] = []

    /// A register has reached the disk.
    mutating func put(_ register: Register) {
        if let name = register.value.flatMap({ try? JSONObject($0) })?.string("batch") { beingWritten.insert(name) }
    }

    /// A register was committed, with another version than the one before it.
    mutating func note(_ register: Register, revision: Revision) {
        guard let object = register.value.flatMap({ try? JSONObject($0) }), let name = object.string("batch"),
            let count = object.integer("of"), let place = object.integer("place")
        else { return }
        parts.append(Part(name: name, count: count, place: place, revision: revision))
    }

    /// A commit is over, at `now` by the server's wall clock.
    mutating func committed(_ disk: SimulatedDisk, now: WallTime, _ world: World) {
        for (name, parts) in Dictionary(grouping: parts, by: \.name) {
            let first = parts[0].revision.rawValue - UInt64(parts[0].place)
            if parts.count != parts[0].count {
                world.note("\(parts.count) of \(parts[0].count) values of batch \(name) were written")
            }
            if parts.contains(where: { $0.revision.rawValue - UInt64($0.place) != first }) {
                world.note("the revisions of batch \(name) are not contiguous")
            }
            if let before = made[name], now < before.at + KeptAnswer.lifetime {
                world.note("batch \(name) acted twice, with revisions \(before.firstRevision) and \(first)")
            }
            made[name] = Made(firstRevision: Revision(first), at: now)
        }
        parts = []
        for name in beingWritten { written[name] = now }
        beingWritten = []
        checkGroup(disk, world)
    }

    /// The server has started on what the disk has.
    mutating func restarted(_ disk: SimulatedDisk, hasLost: Bool, _ world: World) {
        parts = []
        if hasLost {
            made = [:]
            written = [:]
        }
        beingWritten = []
        checkGroup(disk, world)
    }

    private func checkGroup(_ disk: SimulatedDisk, _ world: World) {
        let names = Self.group.map { key in
            disk.committed[key]?.register.value.flatMap { try? JSONObject($0) }?.string("batch")
        }
        if Set(names).count > 1 { world.note("half a batch is on the disk: \(names)") }
    }

    /// A batch was refused, in the commit that is over. (Its answer says nothing of it any more when it arrives: a copy on a connection that
    /// broke can have been read since.)
    mutating func refused(_ name: String, now: WallTime, _ world: World) {
        guard let at = written[name], now < at + KeptAnswer.lifetime else { return }
        world.note("batch \(name) was written, and refused afterwards")
    }

    /// A client was told what became of a batch.
    func answered(_ name: String, _ answer: JSONObject, _ world: World) {
        if answer.bool("applied") == true {
            guard let first = answer.integer("first"), let last = answer.integer("last"),
                answer.array("versions")?.count == Int(last - first) + 1
            else { return world.note("batch \(name) was applied with \(answer.members)") }
            if let made = made[name], made.firstRevision != Revision(UInt64(first)) {
                world.note("batch \(name) was made with revision \(made.firstRevision), and is told of as \(first)")
            }
            return
        }
        let failures = (answer.array("failed") ?? []).compactMap { try? JSONObject($0) }
        if failures.isEmpty { world.note("batch \(name) was refused for nothing") }
        if failures.contains(where: { $0.object("current")?.object("value")?.string("batch") == name }) {
            world.note("batch \(name) was judged over what it wrote itself")
        }
    }
}
