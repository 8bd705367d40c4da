package import Foundation

/// Where this repository's files are.
package enum Repository {
    package static let root = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    package static func file(_ path: String) -> URL { root.appending(path: path) }
}

/// The test vectors in `protocol/vectors`, which every client runs too.
package enum Vectors {
    package static func load<Content: Decodable>(_ name: String, as type: Content.Type) throws -> Content {
        try JSONDecoder().decode(type, from: Data(contentsOf: Repository.file("protocol/vectors/\(name).json")))
    }

    package static func loadObject(_ name: String) throws -> [String: Any] {
        let data = try Data(contentsOf: Repository.file("protocol/vectors/\(name).json"))
        guard let object = try JSONSerialization.jsonObject(with: data) as? [String: Any] else {
            throw CocoaError(.coderReadCorrupt)
        }
        return object
    }
}
