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
        // Some editors begin a file with a byte order mark.
        let mark: [UInt8] = [0xEF, 0xBB, 0xBF]
        let text = text.map { $0.starts(with: mark) ? Array($0.dropFirst(mark.count)) : $0 }
        if let text, text.contains(where: { $0 > 0x20 }) {
            do throws(JSONError) {
                tree = try JSONTree(text)
            } catch {
                throw Problem(description: "it is no plain JSON (\(error)): add the entry by hand")
            }
        }
        guard tree.members != nil else { throw Problem(description: "it is no object of JSON") }
        for object in [tree, tree[servers] ?? .object([])] {
            let names = (object.members ?? []).map(\.name)
            guard Set(names).count == names.count else {
                throw Problem(description: "it has a member twice, of which readers take one or the other: remove one")
            }
        }
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
        guard !old.contains("\"\"\""), !old.contains("'''") else {
            throw Problem(description: "it has texts of several lines, which are not read here: add the table by hand")
        }
        var kept: [Substring] = []
        var table: [String] = []
        // Arrays that are not closed yet: in one, what looks like a header is an element.
        var depth = 0
        // Comments behind our table, which are about the next one.
        var comments: [Substring] = []
        // By bytes: to Swift the two of \r\n are one character.
        for line in old.utf8.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).map(Substring.init)
        {
            if depth == 0, let header = Self.header(line) {
                table = header
                if !Self.isOurs(table) { kept += comments }
                comments = []
            } else {
                if depth == 0, !Self.isOurs(table), Self.setsOurs(line, in: table) {
                    throw Problem(description: "it says mcp_servers.\(Self.name) without a table: change that by hand")
                }
                guard let nesting = Self.nesting(line), depth + nesting >= 0 else { throw Self.noTOML }
                depth += nesting
                let isComment = line.first { !$0.isWhitespace } == "#"
                comments = Self.isOurs(table) && isComment ? comments + [line] : []
            }
            if !Self.isOurs(table) { kept.append(line) }
        }
        guard depth == 0 else { throw Self.noTOML }
        while let last = kept.last, last.allSatisfy(\.isWhitespace) { kept.removeLast() }
        let before = kept.isEmpty ? "" : kept.joined(separator: "\n") + "\n\n"
        return Array((before + entry).utf8)
    }

    private var entry: String {
        var lines = ["[mcp_servers.\(Self.name)]", "command = \(Self.quoted(command))"]
        lines.append("args = [\(arguments.map(Self.quoted).joined(separator: ", "))]")
        if !passedOn.isEmpty { lines.append("env_vars = [\(passedOn.map(Self.quoted).joined(separator: ", "))]") }
        return lines.joined(separator: "\n") + "\n"
    }

    private static let noTOML = Problem(description: "it is no TOML that is understood here: add the table by hand")

    private static func isOurs(_ table: [String]) -> Bool { table.starts(with: ["mcp_servers", name]) }

    /// What of a line is no comment, each character with whether it is in a string.
    private static func code(
        _ line: Substring
    ) -> (text: [(character: Unicode.Scalar, isQuoted: Bool)], isOpen: Bool) {
        var code: [(Unicode.Scalar, Bool)] = []
        var quote: Unicode.Scalar?
        var isEscaped = false
        for scalar in line.unicodeScalars {
            if let open = quote {
                code.append((scalar, true))
                if isEscaped {
                    isEscaped = false
                } else if scalar == "\\", open == "\"" {
                    isEscaped = true
                } else if scalar == open {
                    quote = nil
                }
                continue
            }
            if scalar == "#" { break }
            if scalar == "\"" || scalar == "'" { quote = scalar }
            code.append((scalar, quote != nil))
        }
        return (code, quote != nil)
    }

    /// How many more arrays and inline tables a line opens than it closes; nil: a string is not closed.
    private static func nesting(_ line: Substring) -> Int? {
        let code = code(line)
        return code.isOpen
            ? nil
            : code.text.reduce(0) { depth, next in
                guard !next.isQuoted else { return depth }
                return switch next.character {
                case "[", "{": depth + 1
                case "]", "}": depth - 1
                default: depth
                }
            }
    }

    /// The names of a table's header; nil: the line is none.
    private static func header(_ line: Substring) -> [String]? {
        let code = code(line).text.filter { $0.isQuoted || !$0.character.properties.isWhitespace }
        guard code.first?.character == "[", code.last.map({ $0.character == "]" && !$0.isQuoted }) == true else {
            return nil
        }
        return names(code.dropFirst().dropLast())
    }

    /// The parts of a dotted key.
    private static func names(_ code: some Sequence<(character: Unicode.Scalar, isQuoted: Bool)>) -> [String] {
        var names = [""]
        for (character, isQuoted) in code {
            switch character {
            case "." where !isQuoted: names.append("")
            case "\"", "'", "[", "]": continue
            default: names[names.count - 1].unicodeScalars.append(character)
            }
        }
        return names
    }

    /// Whether a line says something of ours outside of a table of its own.
    private static func setsOurs(_ line: Substring, in table: [String]) -> Bool {
        let code = code(line).text.filter { $0.isQuoted || !$0.character.properties.isWhitespace }
        let key = code.prefix { $0.isQuoted || $0.character != "=" }
        guard !key.isEmpty, key.count < code.count else { return false }
        let path = table + names(key)
        return path.starts(with: ["mcp_servers", name]) || path == ["mcp_servers"]
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
