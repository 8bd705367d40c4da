/// What somebody wants to find, as words: nothing in it is syntax of the index's own.
///
/// Words are all to be there; `"several words"` in a row; `word*` begins with it; `OR` between two lists of those: either. Whatever else there is, an
/// open quote, brackets, operators of other languages, is a part of a word, or nothing.
package struct SearchQuery: Equatable, Sendable {
    /// How many terms are looked for; more are left out.
    package static let maximumTerms = 32

    package struct Term: Equatable, Sendable {
        /// Several words in a row, or one.
        package var text: String
        /// Whether its last word may go on.
        package var isPrefix = false
    }

    /// Of one of these all are to be there.
    package let alternatives: [[Term]]

    package init(_ text: [UInt8]) {
        var alternatives: [[Term]] = [[]]
        var count = 0
        for word in Self.words(String(decoding: text, as: UTF8.self)) {
            if word.text == "OR", !word.isQuoted {
                if alternatives.last?.isEmpty == false { alternatives.append([]) }
                continue
            }
            guard let term = Self.term(word), count < Self.maximumTerms else { continue }
            alternatives[alternatives.count - 1].append(term)
            count += 1
        }
        if alternatives.last?.isEmpty == true { alternatives.removeLast() }
        self.alternatives = alternatives
    }

    /// The words of a text, whatever else is in it: each to be looked for by itself.
    package static func terms(of text: [UInt8]) -> [Term] {
        var seen: Set<String> = []
        return words(String(decoding: text, as: UTF8.self)).flatMap { word in
            word.text.unicodeScalars.split { !isOfWord($0) }.map { String(String.UnicodeScalarView($0)).lowercased() }
        }.filter { $0.utf8.count > 1 && seen.insert($0).inserted }.map { Term(text: $0) }
    }

    /// Of terms that were taken apart before.
    package init(_ alternatives: [[Term]]) { self.alternatives = alternatives }

    private struct Word {
        var text: String
        var isQuoted = false
    }

    private static func words(_ text: String) -> [Word] {
        var words: [Word] = []
        var current = Word(text: "")
        func end() {
            if !current.text.isEmpty || current.isQuoted { words.append(current) }
            current = Word(text: "")
        }
        for scalar in text.unicodeScalars {
            if scalar == "\"" {
                let wasQuoted = current.isQuoted
                end()
                current.isQuoted = !wasQuoted
            } else if scalar.properties.isWhitespace, !current.isQuoted {
                end()
            } else {
                current.text.unicodeScalars.append(scalar)
            }
        }
        end()
        return words
    }

    private static func term(_ word: Word) -> Term? {
        // What has no letter and no digit is no word to any index.
        guard word.text.unicodeScalars.contains(where: isOfWord) else { return nil }
        let isPrefix = !word.isQuoted && word.text.last == "*"
        return Term(text: isPrefix ? String(word.text.dropLast()) : word.text, isPrefix: isPrefix)
    }

    /// As the index's tokenizer sees it: letters, numbers, and characters of private use.
    private static func isOfWord(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter, .decimalNumber,
            .letterNumber, .otherNumber, .privateUse:
            true
        default: false
        }
    }

    /// An expression for FTS5's `MATCH`, with every word in quotes; nil: there is nothing to look for.
    package var match: String? {
        if alternatives.isEmpty { return nil }
        return alternatives.map { terms in
            terms.map { "\"\($0.text.split(separator: "\0").joined(separator: " "))\"\($0.isPrefix ? " *" : "")" }
                .joined(separator: " ")
        }.joined(separator: " OR ")
    }

    /// The words in it, for showing where they stand: without those of less than two bytes.
    package var words: [[UInt8]] {
        alternatives.joined().flatMap { term in
            term.text.unicodeScalars.split { !Self.isOfWord($0) }.map {
                Array(String(String.UnicodeScalarView($0)).utf8)
            }
        }.filter { $0.count > 1 }
    }
}
