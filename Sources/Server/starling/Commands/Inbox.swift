import ArgumentParser
import SyncClient
import SyncProtocol

/// `starling inbox`
struct Inbox: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print the messages that an agent has not acknowledged.",
        discussion: """
            Each line is who sent it, a tab, and its body's JSON. --agent says whose inbox it is. With --ack they are acknowledged, and gone \
            with that. Exits with 1 when there are none.
            """)

    @Argument(help: "The swarm.")
    var swarm: String

    @Flag(help: "Acknowledge what was printed.")
    var ack = false

    @OptionGroup var options: ClientOptions

    func run() async throws {
        let name = try SwarmNames.escaped(options.agentName("reads its inbox"))
        let pattern = try SwarmNames.pattern(swarm, "inbox:\(Self.literal(name)):*")
        let (swarm, ack) = (swarm, ack)
        let count = try await options.connect { connection, replies in
            var count = 0
            var after: String?
            repeat {
                let rest = JSON.member("after", after).map { "," + $0 }.joined()
                try await connection.send(
                    #"{"type":"list","id":"l","limit":200,"pattern":\#(JSON.quote(pattern))\#(rest)}"#)
                let answer = try await replies.answer(to: "l")
                let rows = (answer.array("registers") ?? []).compactMap { try? JSONObject($0) }
                for row in rows { show(row) }
                count += rows.count
                let keys = rows.compactMap { $0.string("key") }
                if ack, !keys.isEmpty {
                    _ = try await connection.call(.messageAcknowledge, swarm, JSON.member("keys", keys), &replies)
                }
                after = answer.string("next")
            } while after != nil
            return count
        }
        if count == 0 { throw ExitCode(1) }
    }

    private static func literal(_ name: String) -> String {
        String(name.flatMap { "*?\\".contains($0) ? ["\\", $0] : [$0] })
    }

    private func show(_ register: JSONObject) {
        options.show(register) { register in
            let value = register.object("value")
            Output.line("\(SwarmView.plain(value?.string("from") ?? ""))\t\(JSON.line(value?.raw("body")))")
        }
    }
}
