/// Where a file's contents are nobody's business.
package enum SecretFile {
    private static let beginnings = [".env", "id_"]
    private static let endings = [".env", ".pem", ".key", ".p12", ".pfx", ".jks", ".keystore", ".kdbx"]
    private static let words = ["credential", "secret", "service-account", "service_account", ".tfstate", ".env."]
    private static let names: Set<String> = [
        ".netrc", ".pgpass", ".npmrc", ".pypirc", ".htpasswd", ".git-credentials", "shadow",
    ]
    private static let folders: Set<String> = [".ssh", ".aws", ".gnupg", ".kube", ".docker", ".gcloud"]

    /// Endings of copies that tools and people make.
    private static let copies = [".bak", ".old", ".orig", ".save", ".swp", ".swo", ".tmp", ".copy", "~"]

    /// Whether a path is that of a file with secrets, by its name: of such a file no content is kept. What is no letter of English, and what stands
    /// around a name without a meaning, does not count.
    package static func isSecret(_ path: [UInt8]) -> Bool {
        var text = String(decoding: path.filter { 0x20..<0x7F ~= $0 }, as: UTF8.self).lowercased()
        text = text.replacing("%2e", with: ".").replacing("%2f", with: "/")
        // A stream of a file's, as one system has it.
        if let stream = text.firstRange(of: "::$") { text = String(text[..<stream.lowerBound]) }
        let parts = text.split { $0 == "/" || $0 == "\\" }.map(trimmed).filter { !$0.isEmpty }
        guard let name = parts.last else { return false }
        return isName(name) || name.first == "." && isName(String(name.dropFirst()))
            || parts.contains { folders.contains($0) }
    }

    private static func trimmed(_ part: Substring) -> String {
        var part = part
        while let last = part.last, last == "." || last == " " { part.removeLast() }
        while part.first == " " { part.removeFirst() }
        while let copy = copies.first(where: { part.hasSuffix($0) && part.utf8.count > $0.utf8.count }) {
            part = part.dropLast(copy.count)
        }
        return String(part)
    }

    private static func isName(_ name: String) -> Bool {
        beginnings.contains(where: name.hasPrefix) || endings.contains(where: name.hasSuffix)
            || words.contains { name.contains($0) } || names.contains(name)
    }
}
