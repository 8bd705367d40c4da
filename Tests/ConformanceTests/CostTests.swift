import Foundation
import TestSupport
import Testing

#if canImport(Glibc)
    extension ConformanceTests {
        /// How many allocations an operation costs the server, by an allocator that counts (`Tests/Faults/allocations.c`). A ratchet: whoever
        /// makes an operation dearer is told, and raises the number on purpose or not at all; whoever makes one cheaper lowers it.
        ///
        /// The numbers are of a debug build, which allocates more than a release (`Benchmarks/costs` counts those, and system calls), and 5 % above what
        /// was counted, which differs by 0.1 % from run to run: the rest is for other versions of the libraries.
        final class CostTests {
            private let folder: URL
            private let counter: Int32
            private let server: ServerProcess

            init() throws {
                folder = try ServerProcess.makeFolder()
                let library = folder.appending(path: "allocations.so").path
                let (status, _, errors) = try ServerProcess.run(
                    [
                        "clang", "-shared", "-fPIC", "-O1", "-o", library,
                        Repository.file("Tests/Faults/allocations.c").path,
                    ],
                    program: URL(filePath: "/usr/bin/env"))
                guard status == 0 else { throw TestFailure("allocations.c does not compile: \(errors)") }
                let file = folder.appending(path: "count").path
                counter = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
                ftruncate(counter, 8)
                server = try ServerProcess(
                    ["--threads", "1"], environment: ["LD_PRELOAD": library, "STARLING_ALLOCATIONS": file])
            }

            deinit {
                close(counter)
                try? FileManager.default.removeItem(at: folder)
            }

            private var count: UInt64 {
                var count: UInt64 = 0
                _ = withUnsafeMutableBytes(of: &count) { pread(counter, $0.baseAddress, 8, 0) }
                return count
            }

            /// Runs an operation a number of times once its paths are warm, and expects it to allocate so much at most.
            private func expect(_ limit: Double, _ name: String, times: Int, _ run: (Int) throws -> Void) throws {
                for number in 0..<times { try run(number) }
                let before = count
                for number in 0..<times { try run(number) }
                let each = Double(count - before) / Double(times)
                print("allocations, \(name): \(each)")
                #expect(each <= limit, "\(name)")
            }

            private func write(_ client: RawClient, _ number: Int) throws {
                try client.send(
                    #"{"type":"broadcast","id":\#(number),"key":"k:\#(number % 100)","value":"\#(String(repeating: "v", count: 100))"}"#
                )
                _ = try client.receive(type: "ack")
            }

            private func subscribers(_ count: Int) throws -> [RawClient] {
                try (0..<count).map { _ in
                    let client = try RawClient.connected(server)
                    try client.send(#"{"type":"subscribe","id":"s","pattern":"k:*","snapshot":false}"#)
                    _ = try client.receive(type: "synced")
                    return client
                }
            }

            @Test("A write, and a batch of eight, allocate what they did")
            func writes() throws {
                let client = try RawClient.connected(server)
                try expect(163, "a write", times: 1_000) { try write(client, $0) }
                try expect(1_032, "a batch of 8", times: 500) { number in
                    let writes = (0..<8).map { #"{"key":"b:\#((number * 8 + $0) % 400)","value":"\#(number)"}"# }
                    try client.send(#"{"type":"batch","id":"b","writes":[\#(writes.joined(separator: ","))]}"#)
                    _ = try client.receive(type: "batched")
                }
            }

            @Test("A fan-out to one and to 256 allocates what it did", arguments: [(1, 182.0), (256, 720)])
            func fanOut(width: Int, limit: Double) throws {
                let client = try RawClient.connected(server)
                let readers = try subscribers(width)
                try expect(limit, "a fan-out to \(width)", times: 200) { number in
                    try write(client, number)
                    for reader in readers { _ = try reader.receive(type: "update") }
                }
            }

            @Test("Catching up with 1,000 keys allocates what it did")
            func catchUp() throws {
                let client = try RawClient.connected(server)
                for number in 0..<1_000 {
                    try client.send(#"{"type":"broadcast","key":"c:\#(number)","value":\#(number)}"#)
                }
                try expect(24_470, "a snapshot of 1,000", times: 20) { number in
                    try client.send(#"{"type":"subscribe","id":"s\#(number)","pattern":"c:*"}"#)
                    _ = try client.receive(type: "synced")
                    try client.send(#"{"type":"unsubscribe","id":"s\#(number)"}"#)
                    _ = try client.receive(type: "unsubscribed")
                }
            }
        }
    }
#endif
