import HTTPTypes
import Hummingbird
import NIOCore
import SyncProtocol

/// A register, as an answer or an update has it.
struct Found {
    let value: [UInt8]?
    let version: String?
    let revision: Int64?
    let expiresAt: Int64?

    init(absent: Void) {
        (value, version, revision, expiresAt) = (nil, nil, nil, nil)
    }

    init(_ message: JSONObject) {
        let isAbsent = message.bool("found") == false || message.bool("deleted") == true
        value = isAbsent ? nil : message.raw("value")
        version = message.string("version")
        revision = message.integer("revision")
        expiresAt = message.integer("expires_at")
    }

    var response: Response {
        var headers: HTTPFields = [.contentType: "application/json", .cacheControl: "no-cache"]
        headers[.eTag] = version.map(EntityTag.text(of:))
        headers[.starlingRevision] = revision.map { "\($0)" }
        headers[.starlingExpiresAt] = expiresAt.map { "\($0)" }
        return Response(
            status: .ok, headers: headers, body: ResponseBody(byteBuffer: ByteBuffer(bytes: value ?? [])))
    }
}
