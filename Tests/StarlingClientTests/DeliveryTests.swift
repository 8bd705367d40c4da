import Testing

@testable import StarlingClient

struct DeliveryTests {
    @Test("Several who wait for the next update are all told of the end", .timeLimit(.minutes(1)))
    func severalReaders() async throws {
        for _ in 0..<100 {
            let delivery = Delivery()
            try await withThrowingTaskGroup(of: Update?.self) { group in
                for _ in 0..<3 { group.addTask { try await delivery.next() } }
                for _ in 0..<10 { await Task.yield() }
                delivery.close(nil)
                for try await update in group { #expect(update == nil) }
            }
        }
    }

    @Test("One who gives up waiting does not take the others with it", .timeLimit(.minutes(1)))
    func cancelledReader() async throws {
        let delivery = Delivery()
        let patient = Task { try await delivery.next() }
        let impatient = Task { try await delivery.next() }
        for _ in 0..<10 { await Task.yield() }
        impatient.cancel()
        #expect(try await impatient.value == nil)
        delivery.close(StarlingError("forbidden", "no"))
        await #expect(throws: StarlingError("forbidden", "no")) { try await patient.value }
    }
}
