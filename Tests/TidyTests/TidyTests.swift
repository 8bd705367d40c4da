import Foundation
import SyncProtocol
import TestSupport
import Testing

/// What a reviewer would say each time, said by a test.
struct TidyTests {
    /// The layers from the bottom up. A module imports from its own layer and the ones below.
    private static let layers = ["Core", "IO", "Server"]
    /// What the modules of Core may import beside each other: values, and nothing that does anything by itself.
    private static let allowedInCore: Set = ["NIOCore", "Synchronization", "CZlib"]
    private static let maximumFileLength = 400
    private static let maximumFunctionLength = 50

    private struct Source {
        var path: String
        var lines: [String]
        var layer: String { String(path.split(separator: "/")[1]) }
        var module: String { String(path.split(separator: "/")[2]) }
    }

    private static func files(_ folder: String, _ suffix: String) -> [String] {
        let names =
            FileManager.default.enumerator(atPath: Repository.file(folder).path)?.compactMap { $0 as? String } ?? []
        return names.filter { $0.hasSuffix(suffix) && !$0.hasPrefix(".") && !$0.contains("/.") }.map {
            folder.isEmpty ? $0 : "\(folder)/\($0)"
        }
    }

    private static func sources(_ folder: String) throws -> [Source] {
        try files(folder, ".swift").map { path in
            let text = try String(contentsOf: Repository.file(path), encoding: .utf8)
            return Source(
                path: path, lines: text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init))
        }
    }

    @Test("Modules import downward only, and those of Core nothing that does I/O")
    func layers() throws {
        let sources = try Self.sources("Sources")
        #expect(sources.count > 50)
        let layerOf = Dictionary(sources.map { ($0.module, $0.layer) }) { first, _ in first }
        for source in sources {
            for line in source.lines {
                guard let match = line.firstMatch(of: /^(?:package |public |private |@testable )?import (\w+)/) else {
                    continue
                }
                let imported = String(match.1)
                if let layer = layerOf[imported] {
                    let own = Self.layers.firstIndex(of: source.layer) ?? 0
                    #expect(
                        Self.layers.firstIndex(of: layer) ?? 9 <= own, "\(source.path) imports \(imported) from above")
                } else if source.layer == "Core" {
                    #expect(Self.allowedInCore.contains(imported), "\(source.path) imports \(imported)")
                    #expect(source.module != "Registers", "\(source.path): Registers imports nothing")
                }
            }
        }
    }

    @Test("The simulation's mutants still fit the sources that they are put into")
    func mutants() throws {
        let patches = Self.files("Tests/Simulation/mutations", ".patch")
        #expect(patches.count >= 12)
        for patch in patches {
            let lines = try String(contentsOf: Repository.file(patch), encoding: .utf8).split(separator: "\n")
            let path = try #require(lines.first { $0.hasPrefix("--- a/") }).dropFirst(6)
            let source = try String(contentsOf: Repository.file(String(path)), encoding: .utf8)
            for hunk in lines.drop(while: { !$0.hasPrefix("@@") }).split(whereSeparator: { $0.hasPrefix("@@") }) {
                let before = hunk.filter { !$0.hasPrefix("+") }.map { $0.dropFirst() }.joined(separator: "\n")
                #expect(source.contains(before), "\(patch) does not fit \(path): make it anew")
            }
        }
    }

    @Test("Files and functions are short enough to be read at once")
    func lengths() throws {
        for source in try Self.sources("Sources") + Self.sources("Tests") + Self.sources("clients") {
            #expect(source.lines.count <= Self.maximumFileLength, "\(source.path) has \(source.lines.count) lines")
            for (name, length) in Self.functions(source.lines) {
                #expect(length <= Self.maximumFunctionLength, "\(source.path): \(name) has \(length) lines")
            }
        }
    }

    /// The functions of a file with their lengths: from the line of `func` or `init` to the brace at its indentation.
    private static func functions(_ lines: [String]) -> [(name: String, length: Int)] {
        lines.indices.compactMap { start in
            let line = lines[start]
            guard let match = line.firstMatch(of: /^( *)(?:@\w+ )*(?:\w+ )*(?:func (\w+)|init[(<?])/) else {
                return nil
            }
            if line.hasSuffix("}") { return nil }
            // A requirement of a protocol has no body.
            let signature = lines[start...].prefix { !$0.isEmpty }
            guard signature.contains(where: { $0.hasSuffix("{") }) else { return nil }
            let indentation = String(match.1)
            guard let end = lines[start...].firstIndex(of: indentation + "}") else { return nil }
            return (match.2.map(String.init) ?? "init", end - start + 1)
        }
    }

    /// How many flags a file may have.
    private static let maximumFlags = 3

    @Test("State is enums, and not flags: no file gets more of those than it may")
    func flags() throws {
        for source in try Self.sources("Sources") {
            let flags = source.lines.filter { line in
                let isStored = line.hasPrefix("    ") && !line.hasPrefix("     ") && line.contains("var ")
                return isStored && [": Bool", " = true", " = false"].contains { line.hasSuffix($0) }
            }
            #expect(flags.count <= Self.maximumFlags, "\(source.path) has \(flags.count): \(flags)")
        }
    }

    @Test("What is looked up by a slot is there: nothing is passed over that cannot be")
    func slots() throws {
        for source in try Self.sources("Sources/Core/SyncEngine") {
            let lookups = source.lines.filter { $0.contains(/\[Int\([\w.]*[sS]lot\)\]\?/) }
            #expect(lookups.isEmpty, "\(source.path) looks up in passing: \(lookups)")
        }
    }

    @Test("No link in a page leads nowhere")
    func links() throws {
        let pages = Self.files("", ".md").filter { !$0.hasPrefix(".") }
        #expect(pages.count > 5)
        for page in pages {
            let text = try String(contentsOf: Repository.file(page), encoding: .utf8)
            let folder = (page as NSString).deletingLastPathComponent
            for match in text.matches(of: /\]\(([^)#\s]+)(?:#[^)]*)?\)/) where !match.1.contains("://") {
                let target = (folder as NSString).appendingPathComponent(String(match.1))
                #expect(
                    FileManager.default.fileExists(atPath: Repository.file(target).path), "\(page) links to \(match.1)")
            }
        }
    }

    @Test("Every error code is documented, and every documented one exists")
    func errorCodes() throws {
        let page = try String(contentsOf: Repository.file("protocol/README.md"), encoding: .utf8)
        let section = page.split(separator: "## Errors").last?.split(separator: "\n## ").first ?? ""
        let documented = Set(section.matches(of: /(?m)^\| `(\w+)` \|/).map { String($0.1) })
        #expect(documented == Set(ErrorCode.allCases.map(\.rawValue)))
    }

    @Test("Every message has a schema, and all of protocol/ is JSON where it says so")
    func schemas() throws {
        let files = Self.files("protocol", ".json")
        for file in files {
            let data = try Data(contentsOf: Repository.file(file))
            #expect(throws: Never.self, "\(file)") { try JSONSerialization.jsonObject(with: data) }
        }
        let page = try String(contentsOf: Repository.file("protocol/README.md"), encoding: .utf8)
        let client = page.matches(of: /(?m)^\| `\{"type":"(\w+)"/).map { "protocol/schemas/client/\($0.1).json" }
        let section = page.split(separator: "## From the server").last?.split(separator: "\n## ").first ?? ""
        // Calls without a dot stand with what they are asked of.
        let undotted = ["search", "hook"]
        let server = section.matches(of: /(?m)^\| `(\w+)` \|/).map { String($0.1) }.filter { !undotted.contains($0) }
            .map {
                "protocol/schemas/server/\($0).json"
            }
        #expect(client.count == MessageType.allCases.count && server.count == 18)
        #expect(Set(client) == Set(MessageType.allCases.map { "protocol/schemas/client/\($0.rawValue).json" }))
        let schemas = Set(files.filter { $0.hasPrefix("protocol/schemas/") }).subtracting([
            "protocol/schemas/common.json", "protocol/schemas/calls.json",
        ])
        #expect(schemas == Set(client + server))
        let calls = page.matches(of: /(?m)^\| `(\w+\.\w+|search|hook)` \|/).map { String($0.1) }
        let names = Call.Name.allCases.map(\.rawValue) + MemoryMessage.allCases.map(\.rawValue)
        #expect(Set(calls) == Set(names + ServiceCall.Name.allCases.map(\.rawValue)))
        let described = try JSONObject(Array(Data(contentsOf: Repository.file("protocol/schemas/calls.json"))))
        #expect(
            described.object("$defs")?.members.map(\.name).filter { $0.contains(".") || undotted.contains($0) } == calls
        )
    }

    @Test("The page on operations has every option of serve, with the default that its help says")
    func options() throws {
        let help = try String(contentsOf: Repository.file("Tests/ConformanceTests/Help/serve.txt"), encoding: .utf8)
        var defaults: [String: String] = [:]
        var option = ""
        for line in help.split(separator: "\n") {
            if let match = line.firstMatch(of: /^  (--[a-z-]+)/) { option = String(match.1) }
            if let match = line.firstMatch(of: /\(default: ([^),]+)/) { defaults[option] = String(match.1) }
        }
        let page = try String(contentsOf: Repository.file("docs/operations.md"), encoding: .utf8)
        var described: Set<String> = []
        for line in page.split(separator: "\n") where line.hasPrefix("| `--") {
            let cells = line.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
            let names = cells[0].split(separator: "`").filter { $0.hasPrefix("--") }.map(String.init)
            described.formUnion(names)
            guard let said = names.first.flatMap({ defaults[$0] }), cells[1] != "none" else { continue }
            let written = cells[1].prefix { $0 != ";" }.filter { $0 != "`" }
            #expect(said == written || said == "the value's + 65536" && written == "value + 65536", "\(names[0])")
        }
        let all = help.matches(of: /\n  (--[a-z-]+)/).map { String($0.1) }.filter {
            $0 != "--version" && $0 != "--help"
        }
        #expect(Set(all) == described)
    }
}
