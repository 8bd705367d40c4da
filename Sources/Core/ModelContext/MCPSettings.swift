import Agents
import SyncProtocol

/// The entry for this server in the settings of a program that speaks MCP. Everything else in them stays, in its order.
package struct MCPSettings: Sendable {
    /// How settings are laid out.
    package enum Layout: Sendable {
        /// JSON: an object of servers under a name, by default `mcpServers`.
        case json(servers: String, saysType: Bool)
        /// TOML: a table for each server (Codex).
        case toml
    }

    /// What is wrong with settings.
    package struct Problem: Error, CustomStringConvertible, Sendable {
        package let description: String

        package init(description: String) { self.description = description }
    }

    private static let name = "starling"

    package var command: String
    package var arguments: [String]
    /// Variables of the environment, and what they are set to.
    package var environment: [(name: String, value: String)]
    /// Variables that are passed on as they are (Codex).
    package var passedOn: [String]

    package init(
        command: String, arguments: [String], environment: [(name: String, value: String)] = [],
        passedOn: [String] = []
    ) {
        self.command = command
        self.arguments = arguments
        self.environment = environment
        self.passedOn = passedOn
    }

    /// Settings with the entry.
    ///
    /// - Parameter text: what they are; nil: there are none.
    package func installed(in text: [UInt8]?, _ layout: Layout) throws(Problem) -> [UInt8] {
        switch layout {
        case .json(let servers, let saysType): try installed(in: text, under: servers, saysType)
        case .toml: try installed(inTOML: text)
        }
    }

    // MARK: JSON

    private func installed(
        in text: [UInt8]?, under servers: String, _ saysType: Bool
    ) throws(Problem) -> [UInt8] {
        var tree = JSONTree.object([])
        if let text, text.contains(where: { $0 > 0x20 }) {
            do throws(JSONError) {
                tree = try JSONTree(text)
            } catch {
                throw Problem(description: "it is no plain JSON (\(error)): add the entry by hand")
            }
        }
        guard tree.members != nil else { throw Problem(description: "it is no object of JSON") }
        var list = tree[servers] ?? .object([])
        guard list.members != nil else { throw Problem(description: "\"\(servers)\" is no object") }
        list[Self.name] = entry(saysType)
        tree[servers] = list
        return tree.pretty
    }

    private func entry(_ saysType: Bool) -> JSONTree {
        var members: [JSONTree.Member] = []
        if saysType { members.append(.init("type", JSONTree("stdio"))) }
        members.append(.init("command", JSONTree(command)))
        members.append(.init("args", .array(arguments.map { JSONTree($0) })))
        if !environment.isEmpty {
            members.append(.init("env", .object(environment.map { .init($0.name, JSONTree($0.value)) })))
        }
        return .object(members)
    }

    // MARK: TOML

    /// The table takes the place of the one there was. Nothing else is read: a file that somebody wrote keeps its comments.
    private func installed(inTOML text: [UInt8]?) throws(Problem) -> [UInt8] {
        guard let old = String(validating: text ?? [], as: UTF8.self) else {
            throw Problem(description: "it is no UTF-8")
        }
        var kept: [Substring] = []
        var isOurs = false
        // Comments behind our table, which are about the next one.
        var comments: [Substring] = []
        // By bytes: to Swift the two of \r\n are one character.
        for line in old.utf8.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).map(Substring.init) {
            let header = Self.header(line)
            if let header {
                isOurs = header.starts(with: ["mcp_servers", Self.name])
                if !isOurs { kept += comments }
                comments = []
            } else if isOurs {
                let isComment = line.first { !$0.isWhitespace } == "#"
                comments = isComment ? comments + [line] : []
            } else if Self.setsOurs(line) {
                throw Problem(description: "it says mcp_servers.\(Self.name) without a table: change that by hand")
            }
            if !isOurs { kept.append(line) }
        }
        while let last = kept.last, last.allSatisfy(\.isWhitespace) { kept.removeLast() }
        let before = kept.isEmpty ? "" : kept.joined(separator: "\n") + "\n\n"
        return Array((before + table).utf8)
    }

    private var table: String {
        var lines = ["[mcp_servers.\(Self.name)]", "command = \(Self.quoted(command))"]
        lines.append("args = [\(arguments.map(Self.quoted).joined(separator: ", "))]")
        if !passedOn.isEmpty { lines.append("env_vars = [\(passedOn.map(Self.quoted).joined(separator: ", "))]") }
        return lines.joined(separator: "\n") + "\n"
    }

    /// The names of a table's header; nil: the line is none.
    private static func header(_ line: Substring) -> [String]? {
        let text = line.filter { !$0.isWhitespace }
        guard text.hasPrefix("["), let end = text.lastIndex(of: "]") else { return nil }
        let inner = text[text.index(after: text.startIndex)..<end]
        // An element of an array is no header unless it is alone on its line, as `[1, 2],` is not.
        guard !inner.contains(","), !inner.contains("=") else { return nil }
        return inner.split(separator: ".").map { $0.filter { !"[]\"'".contains($0) } }
    }

    private static func setsOurs(_ line: Substring) -> Bool {
        let text = line.filter { !$0.isWhitespace && $0 != "\"" && $0 != "'" }
        return text.hasPrefix("mcp_servers.\(name)=") || text.hasPrefix("mcp_servers.\(name).")
            || text.hasPrefix("mcp_servers=")
    }

    /// A basic string (TOML 1.0, *String*).
    private static func quoted(_ text: String) -> String {
        let escaped = text.unicodeScalars.reduce(into: "") { result, scalar in
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case _ where scalar.value < 0x20 || scalar.value == 0x7F:
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return "\"\(escaped)\""
    }
}
