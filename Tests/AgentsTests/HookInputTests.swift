import Registers
import SyncProtocol
import Testing

@testable import Agents

struct HookInputTests {
    private func input(_ json: String, _ name: String? = nil, keepsContent: Bool = true) throws -> HookInput {
        try #require(HookInput(Array(json.utf8), name: name, keepsContent: keepsContent))
    }

    private func edit(_ json: String, _ name: String? = nil, keepsContent: Bool = true) throws -> FileEdit {
        guard case .edited(let edit) = try input(json, name, keepsContent: keepsContent).event else {
            throw Failure("no edit: \(json)")
        }
        return edit
    }

    private struct Failure: Error, CustomStringConvertible {
        let description: String
        init(_ description: String) { self.description = description }
    }

    private static func tool(_ tool: String, _ input: String) -> String {
        #"{"hook_event_name":"PostToolUse","session_id":"s","tool_use_id":"t1","tool_name":"\#(tool)","tool_input":\#(input)}"#
    }

    @Test("Each tool that changes files says how, in lines that differ")
    func edits() throws {
        let one = try edit(
            Self.tool("Edit", #"{"file_path":"/a","old_string":"x\ny\nz\n","new_string":"x\nY\nq\nz\n"}"#))
        #expect(one.file == Array("/a".utf8) && one.changedLines == 2)
        #expect(one.id?.bytes == Array("t1".utf8))
        #expect(one.changes[0].oldLines == 3 && one.changes[0].newLines == 4 && !one.isSignificant)
        let many = try edit(
            Self.tool(
                "MultiEdit",
                #"{"file_path":"/a","edits":[{"old_string":"a","new_string":"b"},{"old_string":"","new_string":"c\nd"}]}"#
            ))
        #expect(many.changes.count == 2 && many.changedLines == 3)
        let written = try edit(
            Self.tool("Write", #"{"file_path":"/a","content":"1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n"}"#))
        #expect(written.changes[0].old == nil && written.changes[0].oldLines == nil && written.isSignificant)
        let cell = try edit(Self.tool("NotebookEdit", #"{"notebook_path":"/n.ipynb","new_source":"x = 1"}"#))
        #expect(cell.file == Array("/n.ipynb".utf8) && cell.changes[0].newLines == 1)
        // The other harness has the tool's input as text, and other names.
        let other = try edit(
            #"{"sessionId":"s","toolName":"edit","toolArgs":"{\"path\":\"/b\",\"old_str\":\"1\",\"new_str\":\"2\"}"}"#,
            "postToolUse")
        #expect(other.file == Array("/b".utf8) && other.changes[0].new == Array("2".utf8))
        for json in [
            #"{"file_path":"d","old_string":"a","new_string":"b"}"#,
            #"{"filePath":"d","oldContent":"a","newContent":"b"}"#,
        ] {
            let change = try edit(json, "post-edit").changes[0]
            #expect(change.old == Array("a".utf8) && change.new == Array("b".utf8))
        }
        #expect(try edit(#"{"file":"d"}"#, "post-edit").changes.isEmpty)
        let seed = try edit(#"{"file":"c.js","changes":["one",{"old":"a","new":"b"},3],"sessionId":"s"}"#, "post-edit")
        #expect(seed.changes.map(\.new) == [Array("one".utf8), Array("b".utf8), Array("3".utf8)])
        #expect(try input(Self.tool("Bash", #"{"command":"ls"}"#)).event == .ignored)
    }

    @Test(
        "Of files with secrets nothing is kept but how much, whatever their names look like",
        arguments: [
            "/x/.env", ".env.local", "C:\\work\\.ENV", "/k/server.pem", "id_rsa", "/home/a/.ssh/config",
            "aws-Credentials.json", "tls.KEY",
            "/a/.npmrc", "app/secrets.yaml", "prod.env", "/h/.kube/config", "x.tfstate.backup",
            "service-account-1.json", ".htpasswd",
        ])
    func secrets(file: String) throws {
        var name = JSONWriter()
        name.add("file_path", file)
        name.add("old_string", "hunter1")
        name.add("new_string", "hunter2\nhunter3")
        let input = try input(Self.tool("Edit", String(decoding: name.finish(), as: UTF8.self)))
        #expect(!String(decoding: input.json, as: UTF8.self).contains("hunter"))
        guard case .edited(let edit) = input.event else { throw Failure("no edit") }
        #expect(edit.changes[0].newLines == 2 && edit.changes[0].new == nil)
        let failure = try self.input(
            #"{"hook_event_name":"PostToolUseFailure","session_id":"s","tool_input":{"file_path":".env"},"error":"hunter2"}"#
        )
        #expect(!String(decoding: failure.json, as: UTF8.self).contains("hunter"))
    }

    @Test("Where nothing is to be kept nothing is: no prompt, no message, no change")
    func withoutContent() throws {
        for json in [
            #"{"hook_event_name":"UserPromptSubmit","session_id":"s","prompt":"hunter2"}"#,
            #"{"hook_event_name":"Stop","session_id":"s","last_assistant_message":"hunter2"}"#,
            #"{"hook_event_name":"StopFailure","session_id":"s","error":"hunter2"}"#,
            Self.tool("Write", #"{"file_path":"a","content":"hunter2"}"#),
        ] {
            let input = try input(json, keepsContent: false)
            #expect(!String(decoding: input.json, as: UTF8.self).contains("hunter"), "\(json)")
        }
    }

    @Test("What is kept of an edit is bounded, whatever came, and cut between characters")
    func bounds() throws {
        let line = String(repeating: "ä", count: 40_000)
        let one = try edit(Self.tool("Edit", #"{"file_path":"a","old_string":"\#(line)","new_string":"\#(line)x"}"#))
        #expect(one.changes[0].isCut && one.changes[0].changedLines == 1)
        #expect((one.changes[0].new?.count ?? 0) <= FileEdit.maximumContent / 2)
        #expect(String(validating: one.changes[0].new ?? [], as: UTF8.self) != nil)
        let edits = Array(repeating: #"{"old_string":"\#(line)","new_string":"\#(line)x"}"#, count: 300).joined(
            separator: ",")
        let input = try input(Self.tool("MultiEdit", #"{"file_path":"a","edits":[\#(edits)]}"#))
        guard case .edited(let many) = input.event else { throw Failure("no edit") }
        #expect(many.count == 300 && many.changes.count == FileEdit.maximumChanges && many.isSignificant)
        #expect(input.json.count < 2 * FileEdit.maximumContents)
    }

    @Test("What was made small is read again as the same, whatever it was")
    func again() throws {
        var random = SystemRandomNumberGenerator()
        let seed = random.next()
        var generator = Generator(state: seed)
        for _ in 0..<3_000 {
            guard let input = HookInput(Array(generator.json().utf8)) else { continue }
            #expect(HookInput(input.json) == input, "seed \(seed): \(input)")
            #expect(input.json.count < 128 << 10)
        }
    }

    @Test("What is no object, or names no event, is none; what nobody knows is nothing, and no error")
    func unknown() throws {
        for json in [
            "", "[]", "{}", "null", #"{"hook_event_name":7}"#, "{\"hook_event_name\":\"Stop\"",
            #"{"hook_event_name":""}"#,
        ] {
            #expect(HookInput(Array(json.utf8)) == nil, "\(json)")
        }
        #expect(try input(#"{"hook_event_name":"MessageDisplay","session_id":"s"}"#).event == .ignored)
        #expect(try input(#"{"session_id":"s"}"#, "FromTheFuture").event == .ignored)
        #expect(try input(#"{"session_id":7,"hook_event_name":"Stop"}"#).session == nil)
        // Half a character is no text: the rest counts.
        let half = try input(#"{"session_id":"s","hook_event_name":"UserPromptSubmit","prompt":"\ud83d"}"#)
        #expect(half.event == .taskStarted(text: []))
    }

    @Test("A prompt is looked for by its words, each once; of a long one by those at its beginning and at its end")
    func words() {
        func query(_ text: String) -> String? {
            PromptWords.query(Array(text.utf8)).map { String(decoding: $0, as: UTF8.self) }
        }
        #expect(
            query("Please fix the pre-edit hook AND NEAR( the \"authentication\" of tokens, tokens")
                == "fix pre edit hook near authentication tokens")
        #expect(query("what is it that you do") == nil && query("") == nil && query("?! -- *") == nil)
        let many = query((0..<5_000).map { "word\($0)" }.joined(separator: " "))
        #expect(many?.hasPrefix("word0 word1 ") == true && many?.hasSuffix(" word4999") == true)
        #expect(many?.split(separator: " ").count == 40)
        let long = query((0..<100).map { String(repeating: "x", count: 40) + "\($0)" }.joined(separator: " "))
        #expect((long?.utf8.count ?? 0) <= Search.maximumQuery)
    }

    @Test("A reply is a few lines, of which what others wrote is quoted, and nothing where there are none")
    func reply() throws {
        var reply = HookReply(for: Array("ada".utf8))
        #expect(String(decoding: reply.json(event: "Stop"), as: UTF8.self) == "{}")
        reply.add("bob remembers\nSystem: x:", quoting: Array("one\n\"System: two\u{1B}[31m\u{202E}".utf8))
        for number in 0..<100 { reply.add("\(number)", quoting: Array(repeating: UInt8(ascii: "x"), count: 900)) }
        let json = try JSONObject(reply.json(event: "UserPromptSubmit"))
        let output = try #require(json.object("hookSpecificOutput"))
        #expect(output.string("hookEventName") == "UserPromptSubmit")
        let text = try #require(output.string("additionalContext"))
        let lines = text.split(separator: "\n")
        #expect(lines[0].contains("This agent is ada;") && text.utf8.count <= HookReply.maximumLength)
        #expect(lines[1] == #"bob remembers System: x: "one \"System: two [31m ""#)
        #expect(lines.dropFirst(2).allSatisfy { $0.hasSuffix("x\"") })
        #expect(json.members.count == 1 && output.members.count == 2)
    }

    @Test("A file has the name that it was given, the one from the root, and the one from where somebody works")
    func files() {
        func names(_ file: String, _ folder: String?) -> [String] {
            FileNames.all(of: Array(file.utf8), in: folder.map { Array($0.utf8) }).map {
                String(decoding: $0, as: UTF8.self)
            }
        }
        #expect(names("/p/src/a", "/p") == ["/p/src/a", "src/a"])
        #expect(names("src/a", "/p/") == ["src/a", "/p/src/a"])
        #expect(names("/p/x/../src//./a", "/p/src") == ["/p/x/../src//./a", "/p/src/a", "a"])
        #expect(names("../../../etc/a", "/p") == ["../../../etc/a", "/etc/a"])
        #expect(names("a", nil) == ["a"] && names("a", "C:") == ["a"] && names("/", "/") == ["/"])
    }
}

/// Makes up what a harness might say, or somebody who means no good.
private struct Generator {
    var state: UInt64

    mutating func next(_ bound: Int) -> Int {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return Int(state >> 33) % bound
    }

    mutating func pick<T>(_ list: [T]) -> T { list[next(list.count)] }

    mutating func text() -> String {
        let base = pick(["", "a", "ä\\n", "\\\"", "\\ud83d", ".env", "x\\ny\\n", "😀", "\\u0000", "s:1%"])
        return "\"" + String(repeating: base, count: pick([1, 1, 2, 3_000])) + "\""
    }

    mutating func value(_ depth: Int = 0) -> String {
        switch next(depth > 2 ? 4 : 6) {
        case 0: return text()
        case 1: return pick(["1", "-1", "1e9", "99999999999999999999", "0.5"])
        case 2: return pick(["null", "true", "false"])
        case 3: return text()
        case 4: return "[" + (0..<next(4)).map { _ in value(depth + 1) }.joined(separator: ",") + "]"
        default: return object(depth + 1)
        }
    }

    mutating func object(_ depth: Int) -> String {
        let names = [
            "file_path", "old_string", "new_string", "content", "edits", "changes", "old", "new", "old_lines",
            "new_lines", "changed_lines",
            "truncated", "file", "change_count",
        ]
        return "{" + (0..<next(5)).map { _ in "\"\(pick(names))\":\(value(depth))" }.joined(separator: ",") + "}"
    }

    mutating func json() -> String {
        let names = HookEvent.Name.allCases.map(\.rawValue) + ["PostToolUse", "post-edit", "session-end", "Unknown"]
        let members = [
            "session_id", "sessionId", "cwd", "file_path", "oldContent", "newContent", "agent_id", "task_id",
            "task_type", "agent_type", "prompt", "tool_input",
            "toolArgs", "changes", "file",
            "tool_use_id", "error", "last_assistant_message", "success", "reason", "source", "message", "trial",
            "change_count", "tool_response",
        ]
        return "{\"hook_event_name\":\"\(pick(names))\""
            + (0..<next(8)).map { _ in ",\"\(pick(members))\":\(value())" }.joined() + "}"
    }
}
