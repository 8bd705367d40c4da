import ArgumentParser
import Foundation
import StarlingServer
import SyncClient
import SyncEngine

/// The command line.
@main
struct Starling: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "starling",
        abstract: "Shared memory for swarms of agents: a WebSocket real-time sync server.",
        discussion: """
            Keys hold JSON values. Agents subscribe to patterns of keys and broadcast values; concurrent writes merge, \
            every write is on the disk before anyone is told of it, and every subscriber ends up with the same state.

              starling serve                     start a server on ws://127.0.0.1:7827/sync
              starling sub 'task:*'              see all tasks, and every change as it happens
              starling pub task:42:status '"done"'

            In patterns, '*' matches within a segment and, at the end, the rest of the key; '**' matches anything; \
            '?' one character; '\\' makes the next character literal.

            Exit codes: 0 done; 1 the answer is no (no such key, a write that lost); 64 wrong usage; 69 no server; \
            70 the server refused.
            """,
        version: ServerConfiguration.version,
        subcommands: [
            Serve.self, Sub.self, Pub.self, Get.self, Del.self, Touch.self, Batch.self, Keys.self, Bench.self,
            Echo.self,
        ],
        groupedSubcommands: [
            CommandGroup(name: "Swarms", subcommands: [Swarm.self, TaskCommand.self, Inbox.self]),
            CommandGroup(
                name: "Memory", subcommands: [MemoryCommand.self, KnowledgeCommand.self, SearchCommand.self]),
            CommandGroup(name: "Coding agents", subcommands: [Mcp.self, Hook.self, Hooks.self]),
            CommandGroup(name: "Access", subcommands: [Token.self]),
            CommandGroup(
                name: "Databases",
                subcommands: [Backup.self, Restore.self, Check.self, Export.self, Import.self, Verify.self, Rekey.self]),
        ])

    static func main() async {
        if Hook.isAsked(CommandLine.arguments) { await Hook.run(CommandLine.arguments) }
        do {
            var command = try parseAsRoot()
            if var command = command as? any AsyncParsableCommand {
                try await command.run()
            } else {
                try command.run()
            }
        } catch let error as ClientError {
            fail(error.description, code: error.code == .badURL ? 64 : 69)
        } catch let error as UsageError {
            fail(error.description, code: 64)
        } catch let error as ServerError {
            fail(error.description, code: 70)
        } catch let error as ServerRefusal {
            fail(error.description, code: 70)
        } catch let error as StoreError {
            fail(error.description, code: 70)
        } catch {
            exit(withError: error)
        }
    }

    /// Says what is wrong on standard error, and ends the process.
    private static func fail(_ message: String, code: Int32) -> Never {
        Output.complaint(message)
        Foundation.exit(code)
    }
}
