import Foundation
import SyncProtocol

/// Requests over HTTP, one after the other on one connection.
final class RESTClient {
    struct Answer {
        var status: Int
        /// By names in lower case.
        var headers: [String: String]
        var body: String

        var json: JSONObject { RESTClient.object(body) }
        var tag: String { headers["etag"] ?? "" }
    }

    /// A text as an object of JSON; one without members where it is none.
    private static func object(_ text: String) -> JSONObject {
        guard let object = (try? JSONObject(Array(text.utf8))) ?? (try? JSONObject(Array("{}".utf8))) else {
            preconditionFailure("{} is an object")
        }
        return object
    }

    private let client: RawClient
    private let token: String?

    init(_ server: ServerProcess, token: String? = nil, receiveBuffer: Int32? = nil) throws {
        client = try RawClient(port: server.port, receiveBuffer: receiveBuffer)
        self.token = token
    }

    static func escape(_ text: String) -> String {
        text.addingPercentEncoding(withAllowedCharacters: .alphanumerics) ?? ""
    }

    /// Sends a request, and reads no answer.
    func send(_ method: String, _ path: String, _ body: String? = nil, _ headers: [String: String] = [:]) throws {
        var lines = ["\(method) \(path) HTTP/1.1", "Host: localhost"]
        if let token { lines.append("Authorization: Bearer \(token)") }
        lines += headers.map { "\($0.key): \($0.value)" }
        if let body { lines.append("Content-Length: \(body.utf8.count)") }
        try client.send(raw: Array((lines.joined(separator: "\r\n") + "\r\n\r\n" + (body ?? "")).utf8))
    }

    func ask(
        _ method: String, _ path: String, _ body: String? = nil, _ headers: [String: String] = [:]
    ) throws -> Answer {
        try send(method, path, body, headers)
        return try answer(hasBody: method != "HEAD")
    }

    func answer(hasBody: Bool = true) throws -> Answer {
        let lines = try client.readHead().components(separatedBy: "\r\n")
        guard let status = lines.first?.split(separator: " ").dropFirst().first.flatMap({ Int($0) }) else {
            throw TestFailure("no answer: \(lines)")
        }
        var headers: [String: String] = [:]
        for line in lines.dropFirst() {
            let pair = line.split(separator: ":", maxSplits: 1)
            headers[pair[0].lowercased()] = pair.count == 2 ? pair[1].trimmingCharacters(in: .whitespaces) : ""
        }
        let length = hasBody && status != 304 ? Int(headers["content-length"] ?? "") ?? 0 : 0
        return Answer(status: status, headers: headers, body: String(decoding: try client.read(length), as: UTF8.self))
    }

    // MARK: Streams

    struct Event {
        var name: String
        var id: String?
        var data: String

        var json: JSONObject { RESTClient.object(data) }
    }

    private var text = ""

    /// The next event of a stream; nil at its end.
    func event() throws -> Event? {
        while true {
            while let end = text.range(of: "\n\n") {
                let block = text[..<end.lowerBound]
                text = String(text[end.upperBound...])
                var event = Event(name: "", data: "")
                var data: [Substring] = []
                for line in block.split(separator: "\n") {
                    if line.hasPrefix("event: ") { event.name = String(line.dropFirst(7)) }
                    if line.hasPrefix("id: ") { event.id = String(line.dropFirst(4)) }
                    if line.hasPrefix("data: ") { data.append(line.dropFirst(6)) }
                }
                event.data = data.joined(separator: "\n")
                if !event.name.isEmpty { return event }
            }
            // Chunks, as HTTP/1.1 has them.
            let size = Int(try client.readLine(), radix: 16) ?? 0
            if size == 0 {
                _ = try client.readLine()
                return nil
            }
            text += String(decoding: try client.read(size), as: UTF8.self)
            _ = try client.readLine()
        }
    }

    func event(_ name: String) throws -> Event {
        while let event = try event() { if event.name == name { return event } }
        throw TestFailure("the stream ended without \(name)")
    }
}
