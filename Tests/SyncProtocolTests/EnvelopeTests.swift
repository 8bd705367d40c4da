import Testing

@testable import SyncProtocol

struct EnvelopeTests {
    @Test("There is room for every field that is known, and each is found by its name")
    func fields() throws {
        for field in Envelope.Field.allCases {
            let text = Array("{\"unknown\":0,\"\(field.name)\":[1],\"\(field.name)x\":2}".utf8)
            let envelope = try Envelope(text.span)
            let slice = try #require(envelope[field])
            #expect(text[slice.range].elementsEqual(Array("[1]".utf8)) && envelope.repeated == nil)
            for other in Envelope.Field.allCases where other != field { #expect(envelope[other] == nil) }
        }
    }
}
