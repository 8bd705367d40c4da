import Access
import Agents
import Foundation
import GRDB
import NIOCore
import Registers
import StarlingServer
import SyncProtocol
import WebSocket

/// What is fed with hostile bytes: every parser that a stranger's bytes reach, by the entry that they reach it by. Each
/// checks besides what must hold for whatever comes in, and traps where it does not.
public enum FuzzTarget: String, CaseIterable, Sendable {
    /// The head of a request, and the answer to it.
    case handshake
    /// Frames to messages, compressed ones too.
    case frames
    /// Messages to what they mean.
    case messages
    /// Patterns, and what they match.
    case patterns
    /// The access file.
    case access
    /// What somebody looks for, and the text that it is looked for in.
    case search
    /// What a harness of agents says, and the settings that its hooks are put into.
    case hooks
    /// What a client of the Model Context Protocol says, and what is answered to what it is made of.
    case mcp

    /// Feeds `bytes` to the parser. Traps where something does not hold.
    public func run(_ bytes: [UInt8]) {
        switch self {
        case .handshake: Self.handshake(bytes)
        case .frames: Self.frames(bytes)
        case .messages: Self.messages(bytes)
        case .patterns: Self.patterns(bytes)
        case .access: Self.access(bytes)
        case .search: Self.search(bytes)
        case .hooks: Self.hooks(bytes)
        case .mcp: Self.mcp(bytes)
        }
    }

    // MARK: Handshakes

    private static func handshake(_ bytes: [UInt8]) {
        guard let head = RequestHead(bytes) else { return }
        for policy in DeflateParameters.Policy.allCases {
            do throws(Handshake.Refusal) {
                let accepted = try Handshake(policy: .init(isLoopbackOnly: true), compression: policy).accept(head)
                check(accepted.response.hasPrefix("HTTP/1.1 101 "), "an answer that is none")
                check(isHead(accepted.response), "an answer with a line of the client's making")
                if let deflate = accepted.deflate {
                    check(
                        9...15 ~= deflate.serverWindowBits && 9...15 ~= deflate.clientWindowBits,
                        "a window that zlib has not")
                    check(policy != .off, "compression that is off")
                }
            } catch {
                check(!error.response.isEmpty, "a refusal without words")
            }
        }
        _ = Handshake.credential(of: head)
        for value in head.values("authorization") { _ = Credential(authorization: value) }
    }

    /// One head, whose lines are all of the server's making.
    private static func isHead(_ text: String) -> Bool {
        let lines = text.components(separatedBy: "\r\n")
        return lines.suffix(2) == ["", ""] && lines.dropLast(2).dropFirst().allSatisfy { $0.contains(": ") }
            && !text.dropLast(4).contains("\n\n")
    }

    // MARK: Frames

    private static let limit = 4_096

    /// What a reader makes of bytes that come in pieces.
    private static func read(_ bytes: ArraySlice<UInt8>, piece: Int, inflates: Bool) -> [String] {
        let inflater = inflates ? Inflater(forgets: false, windowBits: 15) : nil
        var reader = MessageReader(role: .server, maximumMessageSize: limit, inflater: inflater)
        var buffer = ByteBuffer()
        var events: [String] = []
        var rest = bytes
        repeat {
            buffer.writeBytes(rest.prefix(piece))
            rest = rest.dropFirst(piece)
            while let event = reader.next(from: &buffer) {
                switch event {
                case .text, .binary:
                    check(reader.payload.readableBytes <= limit, "a message above the limit")
                    if event == .text {
                        check(
                            String(validating: reader.payload.readableBytesView, as: UTF8.self) != nil,
                            "text that is none")
                    }
                    events.append("\(event) \(reader.payload.hexDump(format: .compact(maxBytes: 64)))")
                case .ping, .pong, .close: events.append("\(event)")
                // How much of a message was there when it was too big depends on the pieces.
                case .violation(.messageTooBig): events.append("too big")
                case .violation(let violation): events.append("\(violation)")
                }
            }
        } while !rest.isEmpty
        return events
    }

    private static func frames(_ bytes: [UInt8]) {
        guard let first = bytes.first else { return }
        let frames = bytes.dropFirst()
        let inflates = first & 1 == 1
        let whole = read(frames, piece: max(1, frames.count), inflates: inflates)
        for piece in [1, 2 + Int(first >> 1) % 61] {
            check(read(frames, piece: piece, inflates: inflates) == whole, "pieces of \(piece) read otherwise")
        }
    }

    // MARK: Messages

    private static func messages(_ bytes: [UInt8]) {
        let decoder = ClientMessageDecoder(maximumValueSize: limit)
        do throws(WireError) {
            let message = try decoder.decode(bytes.span)
            check(
                (try? JSONSerialization.jsonObject(with: Data(bytes))) != nil || isBeyondFoundation(bytes),
                "a message that is no JSON")
            if case .write(let write) = message { check(write) }
            if case .batch(let batch) = message { check(batch) }
        } catch {
            var buffer = ByteBuffer()
            ServerMessage.writeError(error, to: &buffer)
            check(
                (try? JSONObject(Array(buffer.readableBytesView))) != nil,
                "an error that is no message: \(String(buffer: buffer))")
        }
    }

    /// What subscribers would be told is what the message says.
    private static func check(_ write: ClientMessage.Write) {
        check(write.value?.count ?? 0 <= limit, "a value above the limit")
        check(write.record.count >= write.key.count, "a record without its key")
        let version = Version(stamp: Stamp(milliseconds: 1), agent: Agent(random: 1))
        var buffer = ByteBuffer()
        ServerMessage.writeUpdate(Register(write.record, version: version), revision: 1, to: &buffer)
        let update = try? JSONObject(Array(buffer.readableBytesView))
        check(update?.string("key").map { Array($0.utf8) } == write.key.bytes, "an update of another key")
        check(update?.raw("value") == write.value ?? Array("null".utf8), "an update with another value")
        check(update?.raw("metadata") == write.metadata, "an update with other metadata")
        check(update?.string("session").map { Array($0.utf8) } == write.session, "an update with another session")
    }

    private static func check(_ batch: ClientMessage.Batch) {
        let keys = batch.members.map(\.key)
        check(1...ClientMessage.Batch.maximumMembers ~= keys.count, "a batch of \(keys.count)")
        check(Set(keys).count == keys.count, "a batch with a key twice")
        check((batch.op == nil) == (batch.fingerprint == 0), "an op without a fingerprint")
        for case .write(let write) in batch.members {
            check(
                write.value?.count ?? 0 <= limit && write.stamping == .server && !write.isTransient,
                "a write of its own")
        }
    }

    /// Whether there is something in which Foundation's reader differs: numbers that no Double holds, and halves of pairs of
    /// surrogates.
    private static func isBeyondFoundation(_ bytes: [UInt8]) -> Bool {
        let isDigit = { (byte: UInt8) in UInt8(ascii: "0")...UInt8(ascii: "9") ~= byte }
        var run = 0
        for (place, byte) in bytes.enumerated() {
            run = isDigit(byte) || byte == UInt8(ascii: ".") ? run + 1 : 0
            if run > 300 { return true }
            let next = place + 1 < bytes.count ? bytes[place + 1] : 0
            if isDigit(byte), next == UInt8(ascii: "e") || next == UInt8(ascii: "E") { return true }
            if byte == UInt8(ascii: "\\"), next == UInt8(ascii: "u") { return true }
        }
        return false
    }

    // MARK: Patterns

    private static func patterns(_ bytes: [UInt8]) {
        let parts = bytes.split(separator: 0, maxSplits: 2, omittingEmptySubsequences: false).map(Array.init)
        guard parts.count == 3, let asked = try? Pattern(parts[0]), let rule = try? Pattern(parts[1]),
            let key = try? Key(parts[2])
        else { return }
        let expected = matches(asked, key) && matches(rule, key)
        let filter = Filter(asked, within: Scope(matching: [rule]))
        check(asked.matches(key) == matches(asked, key), "\(asked) and \(key)")
        check(filter.matches(key) == expected, "\(asked) within \(rule): \(key)")
        let places = filter.ranges.count { range in
            range.isExact ? range.start == key.bytes : key.bytes.starts(with: range.start)
        }
        check(places <= 1 && (places == 1 || !expected), "the ranges of \(asked) within \(rule): \(key)")
        check(Pattern(escaping: key).matches(key), "\(key) escaped does not match itself")
    }

    /// The grammar's words, by trying everything.
    private static func matches(_ pattern: Pattern, _ key: Key) -> Bool {
        var memory: [Int: Bool] = [:]
        let text = pattern.text
        let bytes = key.bytes
        func run(_ at: Int, _ from: Int) -> Bool {
            let place = at * 1_024 + from
            if let known = memory[place] { return known }
            memory[place] = false
            let result: Bool
            if at == text.count {
                result = from == bytes.count
            } else if text[at] == UInt8(ascii: "*") {
                let isDouble = at + 1 < text.count && text[at + 1] == UInt8(ascii: "*")
                let next = at + (isDouble ? 2 : 1)
                let reaches = isDouble || next == text.count
                result =
                    run(next, from)
                    || (from < bytes.count && (reaches || bytes[from] != Key.separator) && run(at, from + 1))
            } else if text[at] == UInt8(ascii: "?") {
                var end = from + 1
                while end < bytes.count, bytes[end] & 0xC0 == 0x80 { end += 1 }
                result = from < bytes.count && bytes[from] != Key.separator && run(at + 1, end)
            } else {
                let literal = text[at] == UInt8(ascii: "\\") ? at + 1 : at
                result = from < bytes.count && text[literal] == bytes[from] && run(literal + 1, from + 1)
            }
            memory[place] = result
            return result
        }
        return run(0, 0)
    }

    // MARK: Searches

    /// FTS5, with something in it.
    private static let index: DatabaseQueue? = {
        let queue = try? DatabaseQueue()
        try? queue?.write { database in
            try database.execute(
                sql: "CREATE VIRTUAL TABLE t USING fts5 (a, b); INSERT INTO t VALUES ('one two', 'three')")
        }
        return queue
    }()

    private static func search(_ bytes: [UInt8]) {
        let query = SearchQuery(bytes)
        if let match = query.match {
            let count = try? index?.read { database in
                try Int.fetchOne(database, sql: "SELECT COUNT(*) FROM t WHERE t MATCH ?", arguments: [match])
            }
            check(count != nil, "\(match) is syntax")
        }
        check(query.alternatives.joined().count <= SearchQuery.maximumTerms, "more terms than there may be")
        // What is indexed has been text all along.
        guard String(validating: bytes, as: UTF8.self) != nil else { return }
        let plain = SearchText.plain(bytes)
        check(plain.count <= SearchText.maximumLength, "more text than there may be")
        for text in [plain, bytes] {
            let snippet = SearchText.snippet(of: text, around: query.words)
            check(snippet.count <= 300 && !snippet.contains { $0 < 0x20 }, "a snippet is no line")
            check(String(validating: snippet, as: UTF8.self) != nil, "a snippet cuts a character in two")
        }
        _ = MemoryMetadata(bytes)
    }

    // MARK: Hooks

    private static func hooks(_ bytes: [UInt8]) {
        // The first byte names the event, where there is one to name.
        let names: [String?] = [
            nil, "PostToolUse", "UserPromptSubmit", "Stop", "post-edit", "SessionEnd", "PostToolUseFailure",
        ]
        let text = Array(bytes.dropFirst())
        for keepsContent in [true, false] {
            guard let name = bytes.first.map({ names[Int($0) % names.count] }),
                let input = HookInput(text, name: name, keepsContent: keepsContent)
            else { continue }
            let json = input.json
            check(json.count <= 1 << 20, "\(json.count) bytes are left of \(bytes.count)")
            check((try? JSONObject(json)) != nil, "what is left is no JSON")
            check(HookInput(json) == input, "what is left is read otherwise")
            if case .edited(let edit) = input.event, !keepsContent || SecretFile.isSecret(edit.file) {
                check(edit.changes.allSatisfy { ($0.old ?? []).isEmpty && ($0.new ?? []).isEmpty }, "a secret is kept")
            }
            if case .taskStarted(let prompt) = input.event, let query = PromptWords.query(prompt) {
                check(query.count <= 1_024, "a query of \(query.count) bytes")
            }
        }
        settings(text)
    }

    /// Settings that handlers are put into, and taken out of.
    private static func settings(_ text: [UInt8]) {
        let settings = HookSettings(
            url: "http://h/hooks", agent: "a", tokenVariable: "T", command: "starling hook", tellsOfClaims: true)
        guard let installed = try? settings.installed(in: text, .claude) else { return }
        check((try? settings.installed(in: installed, .claude)) == installed, "to install twice is not to install once")
        let before = (try? HookSettings.handlers(in: text)) ?? []
        let removal = try? HookSettings.removed(from: installed, original: text)
        check(
            removal == .original || !before.isEmpty, "settings are not what they were: \(String(describing: removal))")
    }

    // MARK: Access files

    private static func access(_ bytes: [UInt8]) {
        let refusal = AccessControl.problem(inFile: Data(bytes))
        check(refusal?.isEmpty != true, "a refusal without words")
    }

    static func check(_ isTrue: Bool, _ what: @autoclosure () -> String) {
        precondition(isTrue, what())
    }
}

extension Pattern {
    /// The pattern that only `key` matches.
    fileprivate init(escaping key: Key) {
        let text = key.bytes.flatMap { "*?\\".utf8.contains($0) ? [UInt8(ascii: "\\"), $0] : [$0] }
        guard let pattern = try? Pattern(text) else { preconditionFailure("\(key) escaped is no pattern") }
        self = pattern
    }
}
