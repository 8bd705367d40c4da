import Access
import Benchmark
import NIOCore
import Registers
import SyncEngine
import SyncProtocol
import WebSocket

/// What a message costs at each step of its way, without any I/O.
let benchmarks: @Sendable () -> Void = {
    Benchmark.defaultConfiguration = .init(
        metrics: [.wallClock, .throughput], scalingFactor: .kilo, maxDuration: .seconds(2))

    frames()
    messages()
    patterns()
    commits()
}

private let update = Register(
    key: Key(unchecked: Array("agent:17:status".utf8)),
    version: Version(stamp: Stamp(milliseconds: 1_700_000_000_000), agent: Agent(random: 7)),
    value: Array("{\"state\":\"\(String(repeating: "x", count: 100))\"}".utf8))

private func frames() {
    Benchmark("frame: write an update") { benchmark in
        var buffer = ByteBuffer()
        for _ in benchmark.scaledIterations {
            buffer.clear()
            FrameEncoder.writeText(to: &buffer) { ServerMessage.writeUpdate(update, revision: 123_456, to: &$0) }
        }
        blackHole(buffer)
    }

    Benchmark("frame: read a masked message of 200 bytes") { benchmark in
        var frame = ByteBuffer()
        FrameEncoder.write(
            .text, [UInt8](repeating: 0x61, count: 200), maskingKey: MaskingKey((1, 2, 3, 4)), to: &frame)
        var reader = MessageReader(role: .server, maximumMessageSize: 1 << 20)
        for _ in benchmark.scaledIterations {
            var bytes = frame
            blackHole(reader.next(from: &bytes))
        }
    }
}

private func messages() {
    Benchmark("message: decode a broadcast") { benchmark in
        let decoder = ClientMessageDecoder(maximumValueSize: 1 << 20)
        let value = String(repeating: "x", count: 100)
        let text = Array(#"{"type":"broadcast","id":"1","key":"agent:17:status","value":{"state":"\#(value)"}}"#.utf8)
        for _ in benchmark.scaledIterations { blackHole(try? decoder.decode(text.span)) }
    }
}

/// The same key among more and more patterns: what a match costs must not depend on how many there are.
private func patterns() {
    for count in [10, 1_000, 100_000] {
        for (shape, make) in [
            ("agent:N", { "agent:\($0):status" }), ("agent:N:*", { "agent:\($0):*" }),
            ("agent:*:N", { "agent:*:\($0)" }),
        ] as [(String, (Int) -> String)] {
            Benchmark("match: \(count) patterns \(shape)") { benchmark in
                var index = PatternIndex()
                for number in 0..<count {
                    if let pattern = try? Pattern(make(number)) { _ = index.retain(Filter(pattern)) }
                }
                let key = Key(unchecked: Array("agent:7:7".utf8))
                var found: [PatternID] = []
                benchmark.startMeasurement()
                for _ in benchmark.scaledIterations {
                    found.removeAll(keepingCapacity: true)
                    index.findMatches(of: key, into: &found)
                }
                benchmark.stopMeasurement()
                blackHole(found)
            }
        }
    }

    // The worst that a connection may subscribe to (decision 17): each is tried to its end for this key.
    for (name, count, make) in [
        (
            "256 patterns that are tried one by one", 256,
            { "**aaaaaaaa" + String(repeating: "**aaa", count: 6) + "\($0)" }
        ),
        ("10,000 patterns that end alike", 10_000, { "**" + String(repeating: "a", count: $0 % 400) + "x\($0)" }),
        ("2,048 patterns with two segments", 2_048, { "*:a:*:a\($0)" }),
    ] as [(String, Int, (Int) -> String)] {
        Benchmark("match: \(name), a key of 500 bytes") { benchmark in
            var index = PatternIndex()
            for number in 0..<count {
                if let pattern = try? Pattern(make(number)) { _ = index.retain(Filter(pattern)) }
            }
            let key = Key(unchecked: [UInt8](repeating: UInt8(ascii: "a"), count: 499) + [UInt8(ascii: "1")])
            var found: [PatternID] = []
            benchmark.startMeasurement()
            for _ in benchmark.scaledIterations {
                found.removeAll(keepingCapacity: true)
                index.findMatches(of: key, into: &found)
            }
            benchmark.stopMeasurement()
            blackHole(found)
        }
    }

    Benchmark("subscribe and unsubscribe among 100,000 patterns") { benchmark in
        var index = PatternIndex()
        for number in 0..<100_000 {
            if let pattern = try? Pattern("agent:\(number):*") { _ = index.retain(Filter(pattern)) }
        }
        guard let pattern = try? Pattern("agent:x:*") else { return }
        benchmark.startMeasurement()
        for _ in benchmark.scaledIterations { index.release(index.retain(Filter(pattern))) }
        benchmark.stopMeasurement()
    }
}
