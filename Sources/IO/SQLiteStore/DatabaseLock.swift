import Foundation
import SyncEngine
import Synchronization

/// One database, one owner, whatever the file is called: advisory locks (flock(2)), which the kernel lets go of when this
/// process ends, however it ends.
///
/// There are two. The one on the database itself holds for every name that leads to it: symbolic links, hard links, other
/// paths. The one on a file beside it, `<database>.lock`, holds for the name, whatever file is put there meanwhile, and says
/// which process has it.
///
/// Closing any descriptor of a file drops all POSIX locks that the process has on it, SQLite's too
/// (https://www.sqlite.org/howtocorrupt.html, section 2.2). So this one is opened before SQLite's and closed after them,
/// and nothing else in a server opens the file.
final class DatabaseLock: Sendable {
    /// Where the database is, with all links followed: SQLite names its log and its index by this.
    let path: String

    private enum State {
        case held(names: Int32, database: Int32?)
        case released
    }

    private let state: Mutex<State>
    /// Whether there was a log when the database was locked: what a crash leaves has one.
    let hadLog: Bool
    /// The files that SQLite has open, by the suffixes of their names: known once all are there.
    private let owned = Mutex<[(name: String, state: FileState)]>([])

    private static let suffixes = ["", "-wal", "-shm"]

    /// How long to wait for somebody who only looks, in steps of 10 ms.
    private static let attempts = 20

    /// - Parameter creates: whether a database that is not there is made, as an empty file. Else only its name is locked.
    /// - Throws: ``StoreError`` that names the process that holds the lock.
    init(_ path: String, creates: Bool = true) throws(StoreError) {
        if creates { try Self.create(path) }
        let resolved = Self.resolve(path)
        let names = try Self.lockName(resolved, typed: path)
        let database: Int32?
        do throws(StoreError) {
            database = try Self.lockFile(resolved, typed: path)
        } catch {
            ftruncate(names, 0)
            close(names)
            throw error
        }
        state = Mutex(.held(names: names, database: database))
        self.path = resolved
        hadLog = access(resolved + "-wal", F_OK) == 0
    }

    deinit { release() }

    /// Follows all links: of the whole path, or where there is no such file yet, of its folder's.
    static func resolve(_ path: String) -> String {
        if let whole = realPath(path) { return whole }
        let url = URL(filePath: path)
        guard let folder = realPath(url.deletingLastPathComponent().path) else { return path }
        return folder == "/" ? "/" + url.lastPathComponent : "\(folder)/\(url.lastPathComponent)"
    }

    private static func realPath(_ path: String) -> String? {
        guard let resolved = realpath(path, nil) else { return nil }
        defer { free(resolved) }
        return String(cString: resolved)
    }

    /// Makes an empty file, where there is none: its path can be resolved then.
    private static func create(_ path: String) throws(StoreError) {
        let resolved = resolve(path)
        var found = stat()
        let isEmpty = stat(resolved, &found) != 0 || found.st_size == 0
        // SQLite would take it for a leftover, and delete it.
        if isEmpty, stat(resolved + "-wal", &found) == 0, found.st_size > 0 {
            throw StoreError(
                "\(resolved)-wal has changes of a database that is not there any more; put \(path) back to where it was, or "
                    + "remove the -wal file if nothing in it is wanted")
        }
        if access(path, F_OK) == 0 { return }
        let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw StoreError("cannot create \(path): \(reason)") }
        close(descriptor)
    }

    private static func lockName(_ path: String, typed: String) throws(StoreError) -> Int32 {
        let lockPath = path + ".lock"
        let descriptor = open(lockPath, O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw StoreError("cannot create \(lockPath): \(reason)") }
        guard try lock(descriptor, lockPath) else {
            let holder = (try? String(contentsOfFile: lockPath, encoding: .utf8)) ?? ""
            close(descriptor)
            let process = holder.isEmpty ? "another process" : "process \(holder)"
            throw StoreError("\(typed) is in use by \(process); stop that one, or choose another file")
        }
        let text = Array("\(getpid())".utf8)
        ftruncate(descriptor, 0)
        _ = text.withUnsafeBytes { pwrite(descriptor, $0.baseAddress, $0.count, 0) }
        return descriptor
    }

    private static func lockFile(_ path: String, typed: String) throws(StoreError) -> Int32? {
        let descriptor = open(path, O_RDWR | O_CLOEXEC)
        guard descriptor >= 0 else {
            if errno == ENOENT { return nil }
            throw StoreError("cannot open \(typed): \(reason)")
        }
        var isLocked = false
        defer { if !isLocked { close(descriptor) } }
        var found = stat()
        guard fstat(descriptor, &found) == 0 else { throw StoreError("cannot look at \(typed): \(reason)") }
        guard found.st_mode & S_IFMT == S_IFREG else {
            throw StoreError("\(typed) is no file that could be a database")
        }
        guard try lock(descriptor, path) else {
            throw StoreError(
                "\(typed) is in use by another process, by whatever name (or its .lock file was removed); stop that one, or choose another file"
            )
        }
        // Another name leads to another log: what is in that one would not be seen by this.
        guard found.st_nlink == 1 else {
            throw StoreError(
                "\(typed) has \(found.st_nlink) names (hard links), and a log for each: what is written under one can be "
                    + "lost under another; remove the other names, or make a copy with 'starling backup'")
        }
        isLocked = true
        return descriptor
    }

    /// - Returns: false when somebody else has the lock, and keeps it.
    private static func lock(_ descriptor: Int32, _ path: String) throws(StoreError) -> Bool {
        for attempt in 1...attempts {
            if flock(descriptor, LOCK_EX | LOCK_NB) == 0 { return true }
            if errno == EINTR { continue }
            guard errno == EWOULDBLOCK else { throw StoreError("cannot lock \(path): \(reason)") }
            if attempt < attempts { usleep(10_000) }
        }
        return false
    }

    private static var reason: String { String(cString: strerror(errno)) }

    // MARK: What is owned

    /// Notes which files SQLite has opened: the database, its log, and the index of that.
    func noteFiles() throws(StoreError) {
        var files: [(String, FileState)] = []
        for suffix in Self.suffixes {
            guard let state = FileState(path + suffix) else {
                throw StoreError("\(path + suffix) is not there: \(Self.reason)")
            }
            files.append((path + suffix, state))
        }
        owned.withLock { $0 = files }
    }

    /// Makes sure that what SQLite has open is what others find under its name. Where somebody has replaced or removed a file,
    /// what is written is in one that nobody will find. Where one has become shorter, which SQLite never makes it while it has it
    /// open, somebody has written over it. (Over all of one, and no less, cannot be seen.)
    ///
    /// Three system calls, 2 µs. Who shortens the index of the log between this and the use of it ends the process, since it is mapped into memory: that
    /// loses nothing that was acknowledged.
    func checkFiles() throws(StoreError) {
        let problem: (name: String, what: String)? = owned.withLock { files in
            for index in files.indices {
                let (name, known) = files[index]
                guard let found = FileState(name), found.isSameFile(as: known) else {
                    return (name, "replaced or removed")
                }
                if found.size < known.size { return (name, "cut short or written over") }
                files[index].state = found
            }
            return nil
        }
        if let problem { throw Self.changed(problem.name, problem.what) }
    }

    private static func changed(_ name: String, _ what: String) -> StoreError {
        StoreError(
            "\(name) was \(what) while this server had it open; nothing that is written now would be found again. Put back "
                + "what was there, or restart the server")
    }

    /// Lets the next owner have the database. What SQLite had open must be closed.
    func release() {
        let last = state.withLock { state in
            defer { state = .released }
            return state
        }
        switch last {
        case .released: return
        case .held(let names, let database):
            if let database { close(database) }
            ftruncate(names, 0)
            close(names)
        }
    }
}

/// What a name leads to.
private struct FileState: Sendable {
    private let device: UInt64
    private let number: UInt64
    let size: Int

    /// nil: there is no such file.
    init?(_ path: String) {
        var found = stat()
        guard stat(path, &found) == 0 else { return nil }
        device = UInt64(found.st_dev)
        number = UInt64(found.st_ino)
        size = Int(found.st_size)
    }

    func isSameFile(as other: FileState) -> Bool { device == other.device && number == other.number }
}
