/// Why a connection gets no further than its first request.
enum HandshakeRefusal {
    case notHTTP
    case badHead
    case headTooLarge
    case tooManyConnections
    case tooManyFromAddress
    case busy
    case unauthorized(String)

    /// The whole response, after which the connection is closed.
    var response: String {
        let (status, header, text) =
            switch self {
            case .notHTTP: ("400 Bad Request", "", "this is no request by HTTP; if it is TLS, that is not spoken here")
            case .badHead: ("400 Bad Request", "", "the request's head is not as RFC 9112 wants it")
            case .headTooLarge: ("431 Request Header Fields Too Large", "", "the request's head is too large")
            case .tooManyConnections:
                ("503 Service Unavailable", "Retry-After: 1\r\n", "this server has as many connections as it takes")
            case .tooManyFromAddress:
                ("429 Too Many Requests", "Retry-After: 1\r\n", "there are too many connections from this address")
            case .busy:
                ("503 Service Unavailable", "Retry-After: 1\r\n", "too many credentials are being checked; try again")
            case .unauthorized(let reason):
                ("401 Unauthorized", "WWW-Authenticate: Bearer error=\"invalid_token\"\r\n", reason)
            }
        return "HTTP/1.1 \(status)\r\n\(header)Content-Type: text/plain; charset=utf-8\r\n"
            + "Content-Length: \(text.utf8.count + 1)\r\nConnection: close\r\n\r\n\(text)\n"
    }
}
