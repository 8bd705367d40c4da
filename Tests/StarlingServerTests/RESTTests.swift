import Foundation
import HTTPTypes
import HummingbirdCore
import NIOCore
import SyncProtocol
import Testing

@testable import StarlingServer

struct RESTTests {
    @Test("A version is one tag, and the tag that version, whatever the agent's name")
    func tags() throws {
        for agent in ["planner", "ä", "a\"b", "a, b", "%41", "100%", "*", "W/", "a\tb", "😀"] {
            let version = "01a0c5d3e800-0000-\(agent)"
            let tag = EntityTag.text(of: version)
            #expect(tag.utf8.dropFirst().dropLast().allSatisfy { $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "\"") })
            #expect(try EntityTag.version(tag, of: .ifMatch) == version)
        }
        for header in ["", "\"", "\"\"", "*", "x", "W/\"x\"", "\"a\", \"b\"", "\"%\"", "\"%ff\"", "\"a\"b\""] {
            #expect(throws: Problem.self, "\(header)") { try EntityTag.version(header, of: .ifMatch) }
        }
    }

    @Test("The OpenAPI document describes the routes that there are, and no others")
    func document() throws {
        let document = try JSONObject(PackageResources.openapi_json)
        let paths = try #require(document.object("paths"))
        var described: Set<String> = []
        for path in paths.members {
            for member in try JSONObject(path.value).members where member.name != "parameters" {
                described.insert("\(member.name.uppercased()) \(path.name)")
            }
        }
        let routes = RESTAPI().routes.filter { $0.path.hasPrefix("/v1/") }
        #expect(described == Set(routes.flatMap { route in route.methods.map { "\($0.rawValue) \(route.path)" } }))
        let table = RouteTable([RESTAPI()])
        for (path, methods) in [
            ("/v1/keys/a/b", [HTTPRequest.Method.get, .head, .put, .patch, .delete, .options]),
            ("/v1/claims/k", [.post, .patch, .delete, .options]),
            ("/v1/batches", [.post, .options]), ("/v1/events", [.get, .head, .options]),
        ] { #expect(table.methods(for: path[...]) == methods) }
        for path in ["/v1/keys/", "/v1/", "/v1/events/x", "/v2/keys"] { #expect(table.methods(for: path[...]) == nil) }
        for (target, takesBody) in [
            ("/v1/keys/a?x=/", true), ("/v1/batches", true), ("/v1/events", false), ("/x", false),
        ] {
            #expect(table.takesBody(target) == takesBody)
        }
    }

    @Test("Every code has a status, and what may be tried again says when")
    func problems() {
        for code in ErrorCode.allCases {
            let response = Problem(code, "why").response
            #expect(response.status.code >= 400)
            #expect(response.headers[.contentType] == "application/problem+json")
            if response.status == .serviceUnavailable { #expect(response.headers[.retryAfter] != nil) }
        }
    }

    // MARK: Streams

    private func event(_ stream: inout EventStream, _ text: String) -> (text: String, asksAgain: Bool) {
        let (event, message) = stream.take(ByteBuffer(string: text))
        return (String(buffer: event), message != nil)
    }

    @Test("An id names the cursors of all patterns, once each has one, and only where one has changed")
    func ids() {
        var stream = EventStream(patterns: ["a", "b"], since: nil)
        #expect(!event(&stream, #"{"type":"synced","id":"0","cursor":"e:1@x,y%"}"#).text.contains("id: "))
        #expect(event(&stream, #"{"type":"synced","id":"1","cursor":"e:2"}"#).text.contains("\nid: e:1@x%2Cy%25,e:2\n"))
        #expect(!event(&stream, #"{"type":"update","key":"a"}"#).text.contains("id: "))
        #expect(event(&stream, #"{"type":"cursor","id":"0","cursor":"e:5"}"#).text.contains("\nid: e:5,e:2\n"))
        #expect(!event(&stream, #"{"type":"cursor","id":"0","cursor":"e:5"}"#).text.contains("id: "))
    }

    @Test("Where a cursor leads nowhere any more the stream goes on, and says that what it holds is replaced")
    func resync() {
        var stream = EventStream(patterns: ["a"], since: "0123456789abcdef:9")
        #expect(!stream.hasBegun && stream.messages.count == 1)
        let refused = event(&stream, #"{"type":"error","id":"0","code":"resync_required","message":"m"}"#)
        #expect(refused.text.isEmpty && refused.asksAgain && !stream.hasBegun)
        let subscribed = event(&stream, #"{"type":"subscribed","id":"0","pattern":"a","cursor":"e:3"}"#)
        #expect(subscribed.text.contains(#""replace":true}"#) && stream.hasBegun)
        #expect(!event(&stream, #"{"type":"subscribed","id":"0","pattern":"a"}"#).text.contains("replace"))
    }

    @Test("Line breaks of a value are line breaks of the data, and nothing of it is another field")
    func lines() {
        var stream = EventStream(patterns: ["a"], since: nil)
        let told = event(&stream, "{\"type\":\"update\",\"value\":[1,\r\n2,\r3,\nid: 4,\n\nevent: x]}").text
        #expect(
            told
                == "event: update\ndata: {\"type\":\"update\",\"value\":[1,\ndata: 2,\ndata: 3,\ndata: id: 4,\ndata: \ndata: event: x]}\n\n"
                || told == "", "\(told)")
    }
}
