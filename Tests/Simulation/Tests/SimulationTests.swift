import Simulation
import StoreSimulation
import Testing

/// Some of the worlds that `make simulate` runs by the thousand.
struct SimulationTests {
    @Test("Nothing that was acknowledged is lost, and everyone converges", arguments: 0..<300 as Range<UInt64>)
    func converges(seed: UInt64) {
        #expect(Simulation.run(seed: seed).problems == [], "make simulate SEEDS=\(seed)")
    }

    @Test(
        "What a database holds by revision is what it holds by key, whatever was cleaned",
        arguments: 0..<40 as Range<UInt64>)
    func store(seed: UInt64) {
        #expect(StoreSimulation.run(seed: seed) == [], "make simulate SEEDS=\(seed) WORLD=store")
    }

    @Test("A seed determines everything")
    func isDeterministic() {
        #expect(Simulation.trace(seed: 5) == Simulation.trace(seed: 5))
    }
}
