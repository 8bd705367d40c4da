import ArgumentParser
import Foundation
import SyncClient
import SyncProtocol

/// `starling swarm watch`
struct SwarmWatch: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "watch", abstract: "See the tasks and agents of a swarm, live.",
        discussion: """
            On a terminal the picture is drawn anew as things change. Elsewhere each change of a task is a line: its name, a tab, its \
            status, a tab, who has it. It ends with the connection.
            """)

    @Argument(help: "Its name.")
    var swarm: String

    @OptionGroup var options: ClientOptions

    /// How long a picture stands at least, in milliseconds.
    private static let pause: UInt64 = 200

    func run() async throws {
        let pattern = try SwarmNames.pattern(swarm, "*")
        let swarm = swarm
        try await options.connect { connection, replies in
            // Whether there is such a swarm is said before anything is drawn.
            _ = try await connection.call(.swarmStatus, swarm, [], &replies)
            try await connection.send(#"{"type":"subscribe","id":"w","pattern":\#(JSON.quote(pattern))}"#)
            var view = SwarmView(swarm)
            var isSynced = false
            var drawnAt = ContinuousClock.now - .seconds(1)
            var isPending = false
            while let message = try await replies.next() {
                switch message.string("type") {
                case "update":
                    let change = view.take(message)
                    if options.json {
                        Output.line(message.line)
                    } else if let change, !Terminal.isThere, isSynced {
                        Output.line(change)
                    }
                case "synced": isSynced = true
                case "pong": isPending = false
                case "error": throw ServerRefusal(message)
                case "bye": throw ClientError(.unavailable, message.string("reason") ?? "the server said goodbye")
                default: break
                }
                guard Terminal.isThere, isSynced, !options.json, !isPending else { continue }
                // A pong comes behind what has been written meanwhile: so a picture that is put off is drawn in the end.
                if ContinuousClock.now - drawnAt < .milliseconds(Self.pause) {
                    isPending = true
                    try await Task.sleep(for: .milliseconds(Self.pause))
                    try await connection.send(#"{"type":"ping"}"#)
                    continue
                }
                Terminal.draw(view.lines(width: Terminal.width, height: Terminal.height))
                drawnAt = .now
            }
            throw ClientError(.unavailable, "the connection to \(options.server) was lost")
        }
    }
}
