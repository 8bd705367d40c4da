import SyncProtocol

/// The handlers of a coding agent's hooks in its settings: what is put there, found again, and taken out. Everything else stays, in its order.
package struct HookSettings: Sendable {
    /// The header by which handlers over HTTP are known to be ours, and the argument by which commands are.
    package static let marker = "X-Starling-Hook"
    package static let commandMarker = "--installed"

    /// Where handlers go.
    package var url: String
    /// The agent that they are for.
    package var agent: String
    /// The variable of the environment that the credentials are in; nil: there are none.
    package var tokenVariable: String?
    /// What runs a command handler: `starling hook`, with its options, and without an event.
    package var command: String
    /// Whether it is told before a file is changed that somebody has claimed it.
    package var tellsOfClaims: Bool

    package init(url: String, agent: String, tokenVariable: String?, command: String, tellsOfClaims: Bool) {
        self.url = url
        self.agent = agent
        self.tokenVariable = tokenVariable
        self.command = command
        self.tellsOfClaims = tellsOfClaims
    }

    /// How settings are laid out.
    package enum Layout: Sendable {
        /// Claude Code: each event has groups of handlers, with a pattern of tools.
        case claude
        /// GitHub Copilot's CLI: a file of one's own, with handlers at each event.
        case copilot
    }

    private static let editors = "Edit|Write|MultiEdit|NotebookEdit"
    /// How long a handler may take, in seconds; the last one has more to do.
    private static let timeout = 2
    private static let lastTimeout = 5

    private struct Event {
        var name: String
        var matcher: String?
        var isCommand = false
        var timeout = HookSettings.timeout
    }

    private func events(_ layout: Layout) -> [Event] {
        switch layout {
        case .claude:
            // There is no handler over HTTP at the start of a session.
            [Event(name: "SessionStart", isCommand: true), Event(name: "UserPromptSubmit")]
                + (tellsOfClaims ? [Event(name: "PreToolUse", matcher: Self.editors)] : [])
                + [Event(name: "PostToolUse", matcher: Self.editors)]
                + [
                    "PostToolUseFailure", "SubagentStart", "SubagentStop", "TaskCreated", "TaskCompleted", "PreCompact",
                    "Stop",
                ]
                .map { Event(name: $0) } + [
                    Event(name: "StopFailure"), Event(name: "SessionEnd", timeout: Self.lastTimeout),
                ]
        case .copilot:
            ["sessionStart", "userPromptSubmitted"].map { Event(name: $0) }
                + (tellsOfClaims ? [Event(name: "preToolUse")] : [])
                + ["postToolUse", "errorOccurred"].map { Event(name: $0) }
                + [Event(name: "sessionEnd", timeout: Self.lastTimeout)]
        }
    }

    private func handler(_ event: Event, _ layout: Layout) -> JSONTree {
        if event.isCommand {
            return .object([
                .init("type", JSONTree("command")),
                .init("command", JSONTree("\(command) \(event.name) \(Self.commandMarker)")),
                .init("timeout", JSONTree(event.timeout)),
            ])
        }
        var headers: [JSONTree.Member] = [
            .init(Self.marker, JSONTree("1")), .init("Starling-Agent", JSONTree(agent)),
        ]
        if let tokenVariable { headers.append(.init("Authorization", JSONTree("Bearer $\(tokenVariable)"))) }
        var handler: [JSONTree.Member] = [.init("type", JSONTree("http")), .init("url", JSONTree(url(event, layout)))]
        handler.append(.init("headers", .object(headers)))
        if let tokenVariable { handler.append(.init("allowedEnvVars", .array([JSONTree(tokenVariable)]))) }
        handler.append(.init("timeout", JSONTree(event.timeout)))
        return .object(handler)
    }

    /// What this harness sends says which event it is, and what the other sends does not.
    private func url(_ event: Event, _ layout: Layout) -> String {
        guard case .copilot = layout else { return url }
        let end = url.firstIndex(of: "?") ?? url.endIndex
        return url[..<end] + "/\(event.name)" + url[end...]
    }

    // MARK: In

    /// Settings with the handlers, in the place of those that were there before.
    ///
    /// - Parameter text: what is there; nil: nothing.
    /// - Throws: ``SettingsError`` where that is not what settings look like.
    package func installed(in text: [UInt8]?, _ layout: Layout) throws(SettingsError) -> [UInt8] {
        // What is empty stays until the end: it keeps its place.
        let old = try Self.read(text)
        let before = Self.handlers(in: old)
        var tree = Self.without(old)
        if case .copilot = layout, tree["version"] == nil { tree["version"] = JSONTree(1) }
        var hooks = tree["hooks"] ?? .object([])
        guard hooks.members != nil else { throw SettingsError("\"hooks\" is no object") }
        for event in events(layout) {
            let handler = handler(event, layout)
            var group = handler
            if case .claude = layout {
                group = .object(
                    (event.matcher.map { [.init("matcher", JSONTree($0))] } ?? []) + [.init("hooks", .array([handler]))]
                )
            }
            guard let there = (hooks[event.name] ?? .array([])).elements else {
                throw SettingsError("\"hooks\".\"\(event.name)\" is no array")
            }
            hooks[event.name] = .array(there + [group])
        }
        tree["hooks"] = hooks
        // Where somebody lists what may be asked, and what may be sent, this has to be in it; to begin such a list would forbid everything else.
        try Self.allow(url, not: before.compactMap(\.url), in: "allowedHttpHookUrls", of: &tree)
        if let tokenVariable { try Self.allow(tokenVariable, not: [], in: "httpHookAllowedEnvVars", of: &tree) }
        return Self.pruned(tree).pretty
    }

    /// The lists that say what may be asked, and what may be sent.
    private static let lists = ["allowedHttpHookUrls", "httpHookAllowedEnvVars"]

    /// - Parameter old: what was put there before, for other handlers.
    private static func allow(_ text: String, not old: [String], in list: String, of tree: inout JSONTree)
        throws(SettingsError)
    {
        guard let there = tree[list]?.elements else { return }
        if there.isEmpty {
            throw SettingsError("\"\(list)\" is empty, which forbids it: take it out, or put \(text) into it")
        }
        let kept = there.filter { entry in entry.text == text || !old.contains(entry.text ?? "") }
        tree[list] = .array(kept.contains { allows($0.text ?? "", text) } ? kept : kept + [JSONTree(text)])
    }

    /// Whether an entry of a list lets something pass: `*` stands for anything.
    package static func allows(_ entry: String, _ text: String) -> Bool {
        let parts = entry.split(separator: "*", omittingEmptySubsequences: false)
        guard parts.count > 1, let first = parts.first, let last = parts.last else { return entry == text }
        guard text.hasPrefix(first), text.hasSuffix(last), text.utf8.count >= first.utf8.count + last.utf8.count else {
            return false
        }
        var rest = text.dropFirst(first.count).dropLast(last.count)
        for part in parts.dropFirst().dropLast() {
            guard let found = rest.firstRange(of: part) else { return false }
            rest = rest[found.upperBound...]
        }
        return true
    }

    /// What in settings keeps a handler from being called; nil: nothing does.
    package static func obstacle(in text: [UInt8], to handler: Handler) -> String? {
        guard let tree = try? read(text) else { return nil }
        if case .scalar(let value)? = tree["disableAllHooks"], value.elementsEqual("true".utf8) {
            return "\"disableAllHooks\" is true"
        }
        if let url = handler.url, let urls = tree["allowedHttpHookUrls"]?.elements,
            !urls.contains(where: { allows($0.text ?? "", url) })
        {
            return "\"allowedHttpHookUrls\" lists no \(url)"
        }
        return nil
    }

    private static func read(_ text: [UInt8]?) throws(SettingsError) -> JSONTree {
        // A mark in front that some editors put there says nothing.
        let start: [UInt8] = [0xEF, 0xBB, 0xBF]
        let text = text.map { $0.starts(with: start) ? Array($0.dropFirst(start.count)) : $0 }
        guard let text, text.contains(where: { $0 > 0x20 }) else { return .object([]) }
        do throws(JSONError) {
            let tree = try JSONTree(text)
            if tree.members != nil { return tree }
        } catch {
            let line = text.prefix(error.offset).count { $0 == UInt8(ascii: "\n") } + 1
            let isComment = text.dropFirst(error.offset).first == UInt8(ascii: "/")
            throw SettingsError("line \(line) is no JSON\(isComment ? ": there are no comments in it" : "")")
        }
        let isComment = text.first { $0 > 0x20 } == UInt8(ascii: "/")
        throw SettingsError("it is no object of JSON\(isComment ? ": there are no comments in it" : "")")
    }

    // MARK: Out

    /// What is to become of settings from which the handlers are taken.
    package enum Removal: Equatable, Sendable {
        /// There are none of ours.
        case nothing
        /// As they were before, byte for byte.
        case original
        /// There is nothing else.
        case deletion
        case text([UInt8])
    }

    /// Takes the handlers out.
    ///
    /// - Parameter original: what was there before they were put in; nil: nothing.
    package static func removed(from text: [UInt8], original: [UInt8]?) throws(SettingsError) -> Removal {
        let tree = try read(text)
        var rest = without(tree)
        guard rest != tree else { return .nothing }
        rest = pruned(rest)
        let before = try? read(original)
        for list in lists {
            // Only what was put in with the handlers.
            guard let urls = tree[list]?.elements, let known = before?[list]?.elements else { continue }
            let ours = handlers(in: tree).flatMap { [$0.url] + $0.variables.map { Optional($0) } }
            rest[list] = .array(urls.filter { known.contains($0) || !ours.contains($0.text) })
        }
        if original != nil, let before, rest == pruned(without(before)) { return .original }
        if original == nil, rest.members?.filter({ $0.name != "version" }).isEmpty ?? true { return .deletion }
        return .text(rest.pretty)
    }

    private static func isOurs(_ handler: JSONTree) -> Bool {
        handler["headers"]?[marker] != nil || handler["command"]?.text.flatMap(words(ofCommand:)) != nil
    }

    /// The arguments of a command that ``installed(in:_:)`` has written, behind the program; nil: it is none. Nothing in it is left to a shell.
    package static func words(ofCommand command: String) -> [String]? {
        guard let words = words(command), words.count >= 3, words.last == commandMarker, words[1] == "hook",
            words[0].split(separator: "/").last == "starling"
        else { return nil }
        return Array(words.dropFirst())
    }

    /// The words of a shell's line which has words and single quotes, and nothing else.
    private static func words(_ line: String) -> [String]? {
        var words: [String] = []
        var word = ""
        var isQuoted = false
        var isOpen = false
        var scalars = line.unicodeScalars[...]
        while let scalar = scalars.popFirst() {
            switch scalar {
            case "'":
                isQuoted.toggle()
                isOpen = true
            case _ where isQuoted: word.unicodeScalars.append(scalar)
            case "\\":
                guard let next = scalars.popFirst(), next == "'" else { return nil }
                word.unicodeScalars.append(next)
                isOpen = true
            case " ":
                if isOpen { words.append(word) }
                (word, isOpen) = ("", false)
            case _ where plain.contains(scalar):
                word.unicodeScalars.append(scalar)
                isOpen = true
            default: return nil
            }
        }
        if isOpen { words.append(word) }
        return isQuoted ? nil : words
    }

    /// What stands for itself in a shell's line.
    private static let plain = Set(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:".unicodeScalars)

    /// A text as one word of a shell's.
    package static func quoted(_ text: String) -> String {
        if !text.isEmpty, text.unicodeScalars.allSatisfy(plain.contains) { return text }
        return "'" + text.replacing("'", with: "'\\''") + "'"
    }

    /// Settings without our handlers.
    private static func without(_ tree: JSONTree) -> JSONTree {
        var tree = tree
        guard let events = tree["hooks"]?.members else { return tree }
        tree["hooks"] = .object(
            events.map { event in
                guard let groups = event.value.elements else { return event }
                return .init(event.name, .array(groups.compactMap(without(group:))))
            })
        return tree
    }

    /// A group of handlers, or a handler, without ours; nil: there is nothing else.
    private static func without(group: JSONTree) -> JSONTree? {
        if isOurs(group) { return nil }
        guard let handlers = group["hooks"]?.elements, handlers.contains(where: isOurs) else { return group }
        let others = handlers.filter { !isOurs($0) }
        if others.isEmpty { return nil }
        var group = group
        group["hooks"] = .array(others)
        return group
    }

    /// Settings without events that have no handlers, which say nothing.
    private static func pruned(_ tree: JSONTree) -> JSONTree {
        var tree = tree
        guard let events = tree["hooks"]?.members else { return tree }
        let left = events.filter { $0.value != .array([]) }
        tree["hooks"] = left.isEmpty ? nil : .object(left)
        return tree
    }

    // MARK: What there is

    /// One of our handlers.
    package struct Handler: Equatable, Sendable {
        package var event: String
        /// Over HTTP.
        package var url: String?
        package var headers: [(name: String, value: String)]
        /// The variables of the environment that its headers may name.
        package var variables: [String]
        package var command: String?
        /// In seconds.
        package var timeout: Int

        package static func == (left: Handler, right: Handler) -> Bool {
            left.event == right.event && left.url == right.url && left.command == right.command
        }
    }

    /// Our handlers in settings.
    package static func handlers(in text: [UInt8]) throws(SettingsError) -> [Handler] { handlers(in: try read(text)) }

    private static func handlers(in tree: JSONTree) -> [Handler] {
        (tree["hooks"]?.members ?? []).flatMap { event in
            (event.value.elements ?? []).flatMap { $0["hooks"]?.elements ?? [$0] }.filter(isOurs).map { handler in
                Handler(
                    event: event.name, url: handler["url"]?.text,
                    headers: (handler["headers"]?.members ?? []).compactMap { header in
                        header.value.text.map { (header.name, $0) }
                    }, variables: (handler["allowedEnvVars"]?.elements ?? []).compactMap(\.text),
                    command: handler["command"]?.text, timeout: handler["timeout"]?.number ?? Self.timeout)
            }
        }
    }
}

/// What is wrong with somebody's settings.
package struct SettingsError: Error, CustomStringConvertible {
    package let description: String

    init(_ description: String) { self.description = description }
}
