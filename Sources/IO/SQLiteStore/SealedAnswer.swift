/// All that a kept answer's row says beside the answer: what is authenticated with it.
struct SealedAnswer {
    var bearer: [UInt8]
    var op: [UInt8]
    var answeredAt: Int64
    /// Of the encryption key; nil: it is not encrypted.
    var keyID: String?
}
