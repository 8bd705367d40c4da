import Agents
import ArgumentParser
import Foundation
import NIOCore
import SyncClient
import SyncProtocol

/// `starling hook`
struct Hook: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "hook", abstract: "Tell the server of an event of a coding agent, as a command hook.",
        discussion: """
            Reads the event's JSON from standard input, and prints what the server says to it, or nothing. It takes 0.4 s at most (1 s for \
            SessionEnd), and always exits with 0: whatever is wrong, nobody is kept from working. 'starling hooks install' sets hooks up.
            """)

    /// How long it may take, in seconds.
    private static let patience = 0.4
    private static let lastPatience = 1.0
    /// How long what the server says may be, in bytes.
    private static let maximumAnswer = 256 << 10

    @Argument(help: "The event's name, such as SessionStart; without one the JSON says it.")
    var event: String?

    @OptionGroup var target: HookTarget

    @OptionGroup var way: ConnectionOptions

    @Flag(help: .hidden)
    var installed = false

    /// Whether a command line is one of this command: then nothing fails, a wrong option neither.
    static func isAsked(_ arguments: [String]) -> Bool {
        guard arguments.dropFirst().first == configuration.commandName else { return false }
        return arguments.count < 3 || !["-h", "--help", "-help"].contains(arguments[2])
    }

    /// Runs it, and exits with 0.
    static func run(_ arguments: [String]) async -> Never {
        let isEnd = arguments.contains { $0.lowercased().filter { $0 != "-" } == "sessionend" }
        let patience = isEnd ? lastPatience : patience
        signal(SIGPIPE, SIG_IGN)
        // What was opened meanwhile is not what somebody has closed before.
        let isMute = fcntl(STDOUT_FILENO, F_GETFD) < 0
        // Standard input may never end, and a name may take a resolver long.
        DispatchQueue.global().asyncAfter(deadline: .now() + patience) {
            Output.complaint("there was no answer within \(patience) s")
            Foundation.exit(0)
        }
        do {
            let command = try Hook.parse(Array(arguments.dropFirst(2)))
            let body = try readInput()
            // What is secret does not leave this process.
            let input = HookInput(body, name: command.event, keepsContent: command.target.keepsContent)
            guard let input else { throw UsageError("standard input is no object of JSON that names an event") }
            let answer = try await command.target.post(
                input.json, command.way, within: .seconds(10))
            guard answer.status == 200 else { throw UsageError("the server answered with status \(answer.status)") }
            if !isMute { try say(answer.body) }
            if let reason = answer.header("starling-degraded") {
                Output.complaint("the server keeps nothing of this hook: \(reason)")
            }
        } catch {
            let isOurs = error is UsageError || error is ClientError
            Output.complaint(isOurs ? "\(error)" : Hook.message(for: error))
        }
        Foundation.exit(0)
    }

    /// Prints what the server says: an object of JSON on one line, and nothing else, whoever it is that answers.
    private static func say(_ answer: [UInt8]) throws {
        guard answer.count <= maximumAnswer, let object = try? JSONObject(answer) else {
            throw UsageError("the answer is none of a Starling server's")
        }
        if object.members.isEmpty { return }
        var rest = Array((object.line + "\n").utf8)[...]
        // Where nobody reads it, it is said to nobody.
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { write(STDOUT_FILENO, $0.baseAddress, $0.count) }
            if count > 0 { rest = rest.dropFirst(count) } else if errno != EINTR { return }
        }
    }

    func run() async throws { await Self.run(CommandLine.arguments) }

    private static func readInput() throws -> [UInt8] {
        var input: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 64 << 10)
        while input.count <= HookInput.maximumSize {
            let count = part.withUnsafeMutableBytes { read(STDIN_FILENO, $0.baseAddress, $0.count) }
            if count > 0 {
                input += part[..<count]
            } else if count == 0 {
                return input
            } else if errno != EINTR {
                throw UsageError("cannot read standard input")
            }
        }
        throw UsageError("standard input is more than \(HookInput.maximumSize >> 20) MiB")
    }
}

/// Where hooks go, and for whom.
struct HookTarget: ParsableArguments {
    @Option(help: "The server; else STARLING_URL in the environment. (default: ws://127.0.0.1:7827/sync)")
    var url: String?

    @Option(help: "The name to act under.")
    var agent: String?

    @Option(help: ArgumentHelp("Tell of this swarm's tasks and messages.", valueName: "name"))
    var swarm: String?

    @Flag(help: "Keep that something was written or changed, and not what.")
    var noContent = false

    var keepsContent: Bool { !noContent }

    /// Where it goes over HTTP: what is behind the host.
    func path() throws -> String {
        var components = URLComponents()
        components.path = "/hooks"
        var items = swarm.map { [URLQueryItem(name: "swarm", value: $0)] } ?? []
        if noContent { items.append(URLQueryItem(name: "content", value: "none")) }
        if !items.isEmpty { components.queryItems = items }
        // A plus sign stands for itself in a URL, and for a space in forms.
        guard let path = components.string?.replacingOccurrences(of: "+", with: "%2B") else {
            throw UsageError("\(swarm ?? "") is no name of a swarm")
        }
        return path
    }

    /// The server's URL for HTTP, without a path.
    func origin() throws -> String {
        let url = ClientOptions.server(url)
        let endpoint = try Endpoint(url)
        return "\(endpoint.isSecure ? "https" : "http")://\(endpoint.authority)"
    }

    func post(_ body: [UInt8], _ way: ConnectionOptions, within patience: TimeAmount) async throws -> HTTPPost.Response
    {
        let dialer = try Dialer(
            ClientOptions.server(url), roots: way.roots, identity: try way.identity())
        var headers = [(name: "Content-Type", value: "application/json")]
        if let agent { headers.append((name: "Starling-Agent", value: agent)) }
        if let token = try way.credentials() { headers.append((name: "Authorization", value: "Bearer \(token)")) }
        return try await HTTPPost(dialer, path: path(), headers: headers).send(body, within: patience)
    }
}
