import Foundation
import Simulation
import StoreSimulation
import Synchronization

// simulate 0-9999   runs the worlds of these seeds on all cores, and says which fail
// simulate 558      runs one
// simulate --first 0-999   stops at the first that fails, and exits with 1
// simulate --store 0-999   runs databases of SQLite's in the place of whole worlds

var arguments = CommandLine.arguments.dropFirst()
let stopsAtFirst = arguments.first == "--first"
if stopsAtFirst { arguments = arguments.dropFirst() }
let isStore = arguments.first == "--store"
if isStore { arguments = arguments.dropFirst() }
let bounds = (arguments.first ?? "0-299").split(separator: "-").compactMap { UInt64($0) }
guard let first = bounds.first, let last = bounds.last, first <= last else {
    print("usage: simulate [--first] [--store] SEED | simulate [--first] [--store] FIRST-LAST")
    exit(64)
}
let next = Atomic<UInt64>(first)
let failures = Mutex<[UInt64: [String]]>([:])
let events = Mutex<[String: Int]>([:])
let start = ContinuousClock.now
DispatchQueue.concurrentPerform(iterations: ProcessInfo.processInfo.activeProcessorCount) { _ in
    while true {
        let seed = next.wrappingAdd(1, ordering: .relaxed).oldValue
        if seed > last { return }
        let (problems, seen) = isStore ? (StoreSimulation.run(seed: seed), [:]) : Simulation.run(seed: seed)
        events.withLock { $0.merge(seen, uniquingKeysWith: +) }
        if !problems.isEmpty {
            failures.withLock { $0[seed] = problems }
            print("seed \(seed): \(problems[0])")
            if stopsAtFirst { next.store(last + 1, ordering: .relaxed) }
        } else if (seed - first) % 1_000 == 999 {
            print("… \(seed - first + 1) seeds")
        }
    }
}
let total = events.withLock { $0.sorted { $0.value > $1.value } }
if !isStore { print("what happened: " + total.map { "\($0.value) \($0.key)" }.joined(separator: ", ")) }
let failed = failures.withLock { $0.keys.sorted() }
let ran = min(next.load(ordering: .relaxed), last + 1) - first
if let seed = failed.first {
    print("\(failed.count) of \(ran) seeds failed; again: make simulate SEEDS=\(seed)\(isStore ? " WORLD=store" : "")")
    exit(1)
}
print("\(ran) seeds without a failure, in \(ContinuousClock.now - start)")
