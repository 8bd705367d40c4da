import SyncProtocol

/// The words by which what may be of use is looked for.
package enum PromptWords {
    private static let maximumWords = 40
    private static let lengths = 3...48
    /// Words that are in most texts, and say nothing of any.
    private static let common: Set<String> = [
        "about", "after", "again", "all", "also", "and", "any", "are", "because", "been", "before", "but", "can",
        "continue", "could", "did",
        "does", "doing", "done", "each", "every", "first", "for", "from", "get", "give", "going", "has", "have", "here",
        "how", "into", "its",
        "just", "let", "like", "look", "make", "may", "more", "most", "much", "must", "need", "new", "next", "not",
        "now", "okay", "one", "only",
        "other", "our", "out", "over", "please", "same", "shall", "should", "show", "some", "such", "sure", "than",
        "thank", "thanks", "that",
        "the", "their", "them", "then", "there", "these", "they", "this", "those", "through", "try", "under", "use",
        "using", "very", "want",
        "was", "way", "well", "were", "what", "when", "where", "which", "while", "who", "why", "will", "with", "would",
        "yes", "you", "your",
    ]

    /// A query for texts that have some of the words of a text: of a long one what stands at its beginning and at its end; nil: it has none.
    package static func query(_ text: [UInt8]) -> [UInt8]? {
        var words: [String] = []
        var seen: Set<String> = []
        for part in String(decoding: text, as: UTF8.self).lowercased().split(whereSeparator: {
            !$0.isLetter && !$0.isNumber
        }) {
            let word = String(part)
            guard lengths ~= word.utf8.count, !common.contains(word), seen.insert(word).inserted else { continue }
            words.append(word)
        }
        if words.count > maximumWords { words = Array(words.prefix(maximumWords / 2) + words.suffix(maximumWords / 2)) }
        var query: [UInt8] = []
        for word in words where query.count + word.utf8.count < Search.maximumQuery { query += Array("\(word) ".utf8) }
        return query.isEmpty ? nil : query.dropLast()
    }
}
