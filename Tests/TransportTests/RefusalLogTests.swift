import Logging
import NIOCore
import Synchronization
import Testing

@testable import Transport

struct RefusalLogTests {
    /// Keeps what is logged.
    private final class Lines: Sendable {
        let all = Mutex<[Logger.Metadata]>([])
    }

    private struct Handler: LogHandler {
        let lines: Lines
        var metadata = Logger.Metadata()
        var logLevel = Logger.Level.trace

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            lines.all.withLock { $0.append(event.metadata ?? [:]) }
        }
    }

    @Test("Refused handshakes are counted all, and said once a second, with how many were not")
    func said() {
        let lines = Lines()
        let log = RefusalLog(logger: Logger(label: "test") { _ in Handler(lines: lines) })
        let response = "HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno pages\n"
        for milliseconds: Int64 in [0, 10, 999, 1_000, 1_001, 2_500] {
            log.note(response, from: nil, now: .uptimeNanoseconds(1) + .milliseconds(milliseconds))
        }
        log.note("HTTP/1.1 400 Bad Request\r\n\r\n", from: nil, now: .uptimeNanoseconds(1) + .seconds(9))
        #expect(log.counts == [403: 6, 400: 1])
        let all = lines.all.withLock { $0 }
        #expect(all.map { $0["others"] } == [nil, "2", "1", nil])
        #expect(all.map { $0["reason"] } == ["no pages", "no pages", "no pages", ""])
        #expect(all.map { $0["status"] } == ["403", "403", "403", "400"])
    }
}
