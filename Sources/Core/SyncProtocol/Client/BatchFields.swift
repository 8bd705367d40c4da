extension ClientMessage.Batch {
    /// The fields that an element of each of a batch's arrays may have.
    private static let fields: [String: Set<String>] = [
        "writes": ["key", "value", "ttl", "metadata", "session", "expect", "delete", "release"],
        "require": ["key", "version", "fence"],
    ]

    /// Finds a field that there is none of in an array of a batch: on the wire that is ignored, but where a person wrote it, a mistyped
    /// condition is not to be none.
    ///
    /// - Parameters:
    ///   - name: of the array; nothing is found in others.
    ///   - json: its text.
    /// - Returns: where it is, and what there is instead, as a sentence.
    package static func unknownField(in name: String, _ json: [UInt8]) -> String? {
        guard let known = fields[name], let elements = JSONObject.elements(of: json) else { return nil }
        for (index, element) in elements.enumerated() {
            let members = (try? JSONObject(element))?.members ?? []
            guard let unknown = members.first(where: { !known.contains($0.name) }) else { continue }
            let others = known.sorted().joined(separator: ", ")
            return "\(name)[\(index)]: there is no field \(unknown.name); there are \(others)"
        }
        return nil
    }
}
