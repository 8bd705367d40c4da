import GRDBSQLite

/// A VFS of SQLite that puts the writes of a commit to the write-ahead log together.
///
/// SQLite writes each page of the log by two system calls, 24 bytes and 4,096, one behind the other in the file. Here
/// they wait in a buffer until it is full, the log is synced, or anything else is done with the file: one call for 15 pages,
/// which costs a commit of 16 registers a fifth less CPU, and one of 256 a third.
///
/// That is only right where every commit syncs the log before it tells other connections of it (`synchronous = FULL`).
/// And what a transaction had begun to write has to be dropped when it is rolled back, before anybody else writes there:
/// ``discard(of:)``. Nothing else of SQLite's own file system is changed: locks, shared memory and the database file are its own.
enum LogBuffer {
    /// The name to open a database with.
    static let name = "starling-log-buffer"

    /// Up to how many bytes are put together. SQLite's own file system takes less than 128 KiB at once.
    private static let capacity = 64 * 1_024

    /// An open file: what SQLite sees of it, and the file of its own file system that does the work. SQLite allocates
    /// `MemoryLayout<File>.size` bytes for it, and looks at the first field.
    private struct File {
        var header: sqlite3_file
        let real: UnsafeMutablePointer<sqlite3_file>
        /// nil: not a write-ahead log.
        let buffer: UnsafeMutableRawPointer?
        var count: Int
        /// Where in the file the buffer belongs.
        var offset: sqlite3_int64
    }

    /// SQLite's own file system, and this one. Made once, and never changed or freed: databases may be open until the end.
    private struct Registration: @unchecked Sendable {
        let original: UnsafeMutablePointer<sqlite3_vfs>
        let methods: UnsafeMutablePointer<sqlite3_io_methods>
        let code: Int32
    }

    private static let registration: Registration = {
        guard let original = sqlite3_vfs_find(nil) else { preconditionFailure("SQLite has no file system") }
        precondition(MemoryLayout<File>.offset(of: \File.header) == 0, "SQLite looks for its methods at the start")
        let methods = UnsafeMutablePointer<sqlite3_io_methods>.allocate(capacity: 1)
        methods.initialize(to: makeMethods())
        let text = UnsafeMutableBufferPointer<CChar>.allocate(capacity: name.utf8CString.count)
        _ = text.initialize(from: name.utf8CString)
        let system = UnsafeMutablePointer<sqlite3_vfs>.allocate(capacity: 1)
        system.initialize(to: original.pointee)
        system.pointee.pNext = nil
        system.pointee.szOsFile = Int32(MemoryLayout<File>.size)
        system.pointee.zName = UnsafePointer(text.baseAddress)
        system.pointee.xOpen = { LogBuffer.open($1, $2, $3, $4) }
        return Registration(original: original, methods: methods, code: sqlite3_vfs_register(system, 0))
    }()

    /// Makes the file system known to SQLite, unless it is.
    ///
    /// - Returns: SQLite's result code.
    static func register() -> Int32 { registration.code }

    /// Drops what waits for the write-ahead log of a connection. To be called behind each rollback: all that was committed
    /// has been synced, so that what waits is of nobody's.
    static func discard(of connection: OpaquePointer) {
        var file: UnsafeMutablePointer<sqlite3_file>?
        guard sqlite3_file_control(connection, "main", SQLITE_FCNTL_JOURNAL_POINTER, &file) == SQLITE_OK, let file,
            file.pointee.pMethods == UnsafePointer(registration.methods)
        else { return }
        view(file).pointee.count = 0
    }

    private static func open(
        _ path: UnsafePointer<CChar>?, _ file: UnsafeMutablePointer<sqlite3_file>?, _ flags: Int32,
        _ outFlags: UnsafeMutablePointer<Int32>?
    ) -> Int32 {
        guard let file else { return SQLITE_MISUSE }
        file.pointee.pMethods = nil
        let size = Int(registration.original.pointee.szOsFile)
        let real = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 16)
        real.initializeMemory(as: UInt8.self, repeating: 0, count: size)
        let opened = real.assumingMemoryBound(to: sqlite3_file.self)
        let code = registration.original.pointee.xOpen(registration.original, path, opened, flags, outFlags)
        guard code == SQLITE_OK else {
            if let methods = opened.pointee.pMethods { _ = methods.pointee.xClose(opened) }
            real.deallocate()
            return code
        }
        let buffer =
            flags & SQLITE_OPEN_WAL == 0
            ? nil : UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: 16)
        UnsafeMutableRawPointer(file).initializeMemory(
            as: File.self,
            to: File(
                header: sqlite3_file(pMethods: registration.methods), real: opened, buffer: buffer, count: 0,
                offset: 0))
        return SQLITE_OK
    }

    private static func view(_ file: UnsafeMutablePointer<sqlite3_file>?) -> UnsafeMutablePointer<File> {
        guard let file else { preconditionFailure("SQLite gives every call its file") }
        return UnsafeMutableRawPointer(file).assumingMemoryBound(to: File.self)
    }

    /// Gives what waits to the real file, and calls `body` with that.
    private static func settled(
        _ file: UnsafeMutablePointer<sqlite3_file>?,
        _ body: (sqlite3_io_methods, UnsafeMutablePointer<sqlite3_file>) -> Int32
    ) -> Int32 {
        let file = view(file)
        let code = flush(file)
        return code == SQLITE_OK ? body(file.pointee.real.pointee.pMethods.pointee, file.pointee.real) : code
    }

    /// Calls `body` with the real file, for what has nothing to do with what is in the file.
    private static func direct(
        _ file: UnsafeMutablePointer<sqlite3_file>?,
        _ body: (sqlite3_io_methods, UnsafeMutablePointer<sqlite3_file>) -> Int32
    ) -> Int32 {
        let real = view(file).pointee.real
        return body(real.pointee.pMethods.pointee, real)
    }

    private static func flush(_ file: UnsafeMutablePointer<File>) -> Int32 {
        guard file.pointee.count > 0 else { return SQLITE_OK }
        let count = file.pointee.count
        // Also where it fails: SQLite gives the transaction up then, and writes there again.
        file.pointee.count = 0
        let real = file.pointee.real
        return real.pointee.pMethods.pointee.xWrite(real, file.pointee.buffer, Int32(count), file.pointee.offset)
    }

    private static func write(
        _ file: UnsafeMutablePointer<sqlite3_file>?, _ bytes: UnsafeRawPointer?, _ count: Int32, _ offset: sqlite3_int64
    ) -> Int32 {
        let handle = file
        let file = view(file)
        guard let buffer = file.pointee.buffer, let bytes, count > 0, count <= capacity else {
            return settled(handle) { $0.xWrite($1, bytes, count, offset) }
        }
        let waiting = file.pointee.count
        if waiting > 0, file.pointee.offset + Int64(waiting) != offset || waiting + Int(count) > capacity {
            let code = flush(file)
            guard code == SQLITE_OK else { return code }
        }
        if file.pointee.count == 0 { file.pointee.offset = offset }
        (buffer + file.pointee.count).copyMemory(from: bytes, byteCount: Int(count))
        file.pointee.count += Int(count)
        return SQLITE_OK
    }

    private static func close(_ pointer: UnsafeMutablePointer<sqlite3_file>?) -> Int32 {
        let file = view(pointer)
        // What waits is of no commit, and somebody else may have written there since.
        let code = file.pointee.real.pointee.pMethods.pointee.xClose(file.pointee.real)
        UnsafeMutableRawPointer(file.pointee.real).deallocate()
        file.pointee.buffer?.deallocate()
        return code
    }

    /// Version 2: without the calls for memory maps, which SQLite does without then.
    private static func makeMethods() -> sqlite3_io_methods {
        var methods = sqlite3_io_methods()
        methods.iVersion = 2
        methods.xClose = { LogBuffer.close($0) }
        methods.xRead = { file, bytes, count, offset in LogBuffer.settled(file) { $0.xRead($1, bytes, count, offset) } }
        methods.xWrite = { LogBuffer.write($0, $1, $2, $3) }
        methods.xTruncate = { file, size in LogBuffer.settled(file) { $0.xTruncate($1, size) } }
        methods.xSync = { file, flags in LogBuffer.settled(file) { $0.xSync($1, flags) } }
        methods.xFileSize = { file, size in LogBuffer.settled(file) { $0.xFileSize($1, size) } }
        methods.xLock = { file, level in LogBuffer.direct(file) { $0.xLock($1, level) } }
        methods.xUnlock = { file, level in LogBuffer.direct(file) { $0.xUnlock($1, level) } }
        methods.xCheckReservedLock = { file, result in LogBuffer.direct(file) { $0.xCheckReservedLock($1, result) } }
        methods.xFileControl = { file, code, argument in LogBuffer.settled(file) { $0.xFileControl($1, code, argument) }
        }
        methods.xSectorSize = { file in LogBuffer.direct(file) { $0.xSectorSize($1) } }
        methods.xDeviceCharacteristics = { file in LogBuffer.direct(file) { $0.xDeviceCharacteristics($1) } }
        methods.xShmMap = { file, region, size, extend, memory in
            LogBuffer.direct(file) { $0.xShmMap($1, region, size, extend, memory) }
        }
        methods.xShmLock = { file, offset, count, flags in
            LogBuffer.direct(file) { $0.xShmLock($1, offset, count, flags) }
        }
        methods.xShmBarrier = { file in
            _ = LogBuffer.direct(file) {
                $0.xShmBarrier($1)
                return SQLITE_OK
            }
        }
        methods.xShmUnmap = { file, mustDelete in LogBuffer.direct(file) { $0.xShmUnmap($1, mustDelete) } }
        return methods
    }
}
