import Foundation
import Registers
import SyncEngine
import SyncProtocol
import TestSupport
import Testing

/// Random worlds, each determined by its seed. `STARLING_SEEDS=558 swift test --filter SyncEngineTests.ConvergenceTests` runs
/// one again, and `STARLING_SEEDS=300-4299` many more than the usual ones.
struct ConvergenceTests {
    private static let seeds: ClosedRange<UInt64> = {
        let text = ProcessInfo.processInfo.environment["STARLING_SEEDS"] ?? "0-299"
        let bounds = text.split(separator: "-").compactMap { UInt64($0) }
        guard let first = bounds.first, let last = bounds.last, first <= last else { return 0...299 }
        return first...last
    }()

    @Test("Every subscriber ends with the state of the store, and no key ever goes back", arguments: seeds)
    func converges(seed: UInt64) {
        let world = World(seed: seed, clients: 4)
        for _ in 0..<800 {
            world.step()
            if !world.problems.isEmpty { break }
        }
        world.settle()
        #expect(world.problems == [], "seed \(seed)")
        let state = world.store.committed.values.map(\.register)
        for client in world.clients where client.connection != nil {
            #expect(client.unsyncedCount == 0, "seed \(seed): \(client.name) waits for synced")
            for pattern in client.syncedPatterns {
                let wanted = Set(state.filter { pattern.matches($0.key) && !$0.isTombstone }.map(Entry.init))
                let held = Set(
                    client.replica.values.filter { pattern.matches($0.key) && !$0.isTombstone }.map(Entry.init))
                #expect(held == wanted, "seed \(seed): \(client.name), \(pattern)")
            }
        }
        for loop in world.loops {
            #expect(loop.shard.isQuiescent, "seed \(seed): something is kept that nobody will ask for")
        }
    }

    private struct Entry: Hashable {
        var key: Key
        var version: Version
        var value: [UInt8]?

        init(_ register: Register) {
            key = register.key
            version = register.version
            value = register.value
        }
    }

    @Test("Revisions have no gaps, and each belongs to one change")
    func gapless() {
        let world = World(seed: 7, clients: 3)
        var revisions: [UInt64] = []
        for _ in 0..<2_000 {
            world.step()
            for case .batch(let batch) in world.loops[0].inbox {
                revisions += batch.changes.compactMap(\.revision).filter { $0 > revisions.last ?? 0 }
            }
        }
        #expect(revisions == Array(1...UInt64(revisions.count)))
    }

    @Test("Connections that come and go leave nothing behind")
    func leavesNothing() {
        let world = World(seed: 11, clients: 1)
        let client = world.clients[0]
        for _ in 0..<2_000 {
            world.connect(client)
            if let id = client.connection, let message = client.subscribe(&world.random) {
                world.receive(message, from: client, id)
                world.loops[client.loop].shard.disconnect(id)
            }
            client.disconnected()
            world.settle()
        }
        for loop in world.loops {
            let counters = loop.shard.snapshot
            #expect(counters.connections == 0 && counters.patterns == 0 && counters.groups == 0)
            #expect(counters.subscriptionsLive == 0 && counters.subscriptionsCatchingUp == 0)
            #expect(loop.shard.isQuiescent)
        }
    }
}
