import Foundation
import Registers
import StarlingServer

/// An access file that a test writes, and the tokens in it.
final class AccessFixture {
    let folder: URL
    var file = AccessFile()
    private(set) var tokens: [String: String] = [:]

    var path: String { folder.appending(path: "access.json").path }

    init() throws {
        folder = try ServerProcess.makeFolder()
    }

    deinit { try? FileManager.default.removeItem(at: folder) }

    /// Adds a token, and puts the file where a server sees it.
    func add(_ id: String, read: [String], write: [String], _ change: (inout AccessFile.Token) -> Void = { _ in })
        throws
    {
        let secret = TokenSecret(id: id)
        tokens[id] = secret.text
        var entry = AccessFile.Token(id: id, sha256: secret.hash)
        entry.read = read
        entry.write = write
        change(&entry)
        file.tokens = (file.tokens ?? []) + [entry]
        try save()
    }

    func change(_ id: String, _ change: (inout AccessFile.Token) -> Void) throws {
        guard let index = file.tokens?.firstIndex(where: { $0.id == id }) else { throw TestFailure("no token \(id)") }
        change(&file.tokens![index])
        try save()
    }

    func revoke(_ id: String) throws {
        file.tokens?.removeAll { $0.id == id }
        try save()
    }

    func save() throws {
        try JSONEncoder().encode(file).write(to: URL(filePath: path), options: .atomic)
    }

    func start(_ arguments: [String] = []) throws -> ServerProcess {
        try ServerProcess(["--access", path] + arguments)
    }

    func connect(_ server: ServerProcess, _ id: String) throws -> RawClient {
        try RawClient.connected(server, token: tokens[id])
    }
}
