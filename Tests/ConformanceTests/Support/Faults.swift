import Foundation
import TestSupport

/// Faults of the operating system that a server runs into while a test says so: `Tests/Faults/faults.c`, preloaded.
final class Faults {
    private let folder: URL
    private let descriptor: Int32

    /// - Throws: ``TestFailure`` where the library cannot be compiled.
    init() throws {
        folder = try ServerProcess.makeFolder()
        let library = folder.appending(path: "faults.so").path
        let (status, _, errors) = try ServerProcess.run(
            ["clang", "-shared", "-fPIC", "-O1", "-o", library, Repository.file("Tests/Faults/faults.c").path],
            program: URL(filePath: "/usr/bin/env"))
        guard status == 0 else { throw TestFailure("faults.c does not compile: \(errors)") }
        descriptor = open(folder.appending(path: "control").path, O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
        ftruncate(descriptor, 24)
    }

    deinit {
        close(descriptor)
        try? FileManager.default.removeItem(at: folder)
    }

    /// What a server wants in its environment.
    var environment: [String: String] {
        [
            "LD_PRELOAD": folder.appending(path: "faults.so").path,
            "STARLING_FAULTS": folder.appending(path: "control").path,
        ]
    }

    /// The error of every fsync of the database's files; 0: none.
    func failSyncs(_ error: Int32) { set(error, at: 0) }
    /// The error of every fsync of the database itself, and not of its log; 0: none.
    func failTableSyncs(_ error: Int32) { set(error, at: 16) }
    /// How much longer every fsync takes, in milliseconds; 0 lets those go on that wait.
    func delaySyncs(_ milliseconds: Int32) { set(milliseconds, at: 20) }
    /// The error of every write to them; 0: none.
    func failWrites(_ error: Int32) { set(error, at: 4) }
    /// What is added to the wall clock.
    func setClock(offset milliseconds: Int64) { set(milliseconds, at: 8) }

    private func set<Value: BitwiseCopyable>(_ value: Value, at offset: off_t) {
        withUnsafeBytes(of: value) { _ = pwrite(descriptor, $0.baseAddress, $0.count, offset) }
    }
}
