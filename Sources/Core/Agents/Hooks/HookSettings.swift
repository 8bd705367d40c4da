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
        var tree = Self.without(try Self.read(text))
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
        if let urls = tree["allowedHttpHookUrls"]?.elements {
            tree["allowedHttpHookUrls"] = .array(Self.adding(url, to: urls))
        }
        if let names = tree["httpHookAllowedEnvVars"]?.elements, let tokenVariable {
            tree["httpHookAllowedEnvVars"] = .array(Self.adding(tokenVariable, to: names))
        }
        return Self.pruned(tree).pretty
    }

    private static func adding(_ text: String, to list: [JSONTree]) -> [JSONTree] {
        list.contains { $0.text == text } ? list : list + [JSONTree(text)]
    }

    private static func read(_ text: [UInt8]?) throws(SettingsError) -> JSONTree {
        guard let text, text.contains(where: { $0 > 0x20 }) else { return .object([]) }
        do throws(JSONError) {
            let tree = try JSONTree(text)
            guard tree.members != nil else { throw JSONError(.notAnObject, at: 0) }
            return tree
        } catch {
            throw SettingsError("it is no object of JSON: \(error)")
        }
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
        for list in ["allowedHttpHookUrls", "httpHookAllowedEnvVars"] {
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
        handler["headers"]?[marker] != nil
            || handler["command"]?.text.map { $0.hasSuffix(" \(commandMarker)") && $0.contains("hook ") } ?? false
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
                    command: handler["command"]?.text)
            }
        }
    }
}

/// What is wrong with somebody's settings.
package struct SettingsError: Error, CustomStringConvertible {
    package let description: String

    init(_ description: String) { self.description = description }
}
