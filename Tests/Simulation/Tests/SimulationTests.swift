import Simulation
import Testing

/// Some of the worlds that `make simulate` runs by the thousand.
struct SimulationTests {
    @Test("Nothing that was acknowledged is lost, and everyone converges", arguments: 0..<300 as Range<UInt64>)
    func converges(seed: UInt64) {
        #expect(Simulation.run(seed: seed).problems == [], "make simulate SEEDS=\(seed)")
    }

    @Test("A seed determines everything")
    func isDeterministic() {
        #expect(Simulation.trace(seed: 5) == Simulation.trace(seed: 5))
    }
}
