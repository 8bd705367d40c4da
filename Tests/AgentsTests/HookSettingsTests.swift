import SyncProtocol
import Testing

@testable import Agents

struct HookSettingsTests {
    private let settings = HookSettings(
        url: "http://127.0.0.1:7827/hooks", agent: "ada", tokenVariable: "STARLING_TOKEN",
        command: "starling hook --agent ada",
        tellsOfClaims: false)

    private func install(_ text: String?) throws -> String {
        String(decoding: try settings.installed(in: text.map { Array($0.utf8) }, .claude), as: UTF8.self)
    }

    private static let theirs = #"""
        {"model":"x",	"allowedHttpHookUrls": ["https://a"], "hooks": {"Stop":[{"hooks":[{"type":"command","command":"say"}]}],
          "PostToolUse": [{"matcher":"Bash","hooks":[{"type":"command","command":"x"}]}], "Odd": 7 }, "n": 1.50, "é": "é"}
        """#

    @Test(
        "What was there is there again, to the byte, and in between it is all still there in its order",
        arguments: [
            theirs, "{}", " {\"hooks\":{}} ", "{\"hooks\":{\"Stop\":[]}}", "{\"a\":[1,{}]}\n", "\u{FEFF}{\"a\":1}",
        ])
    func backAgain(text: String) throws {
        let installed = try install(text)
        #expect(try install(installed) == installed, "twice is once")
        #expect(try HookSettings.removed(from: Array(installed.utf8), original: Array(text.utf8)) == .original)
        let before = try JSONTree(Array(text.utf8))
        let after = try JSONTree(Array(installed.utf8))
        for member in before.members ?? [] where member.name != "hooks" && member.name != "allowedHttpHookUrls" {
            #expect(after[member.name] == member.value)
        }
        let names = (before.members ?? []).map(\.name)
        #expect(Array((after.members ?? []).map(\.name).prefix(names.count)) == names)
    }

    @Test("Where there was no file there is none again; where somebody has changed it, only what is ours goes")
    func edited() throws {
        let made = try install(nil)
        #expect(try HookSettings.removed(from: Array(made.utf8), original: nil) == .deletion)
        var tree = try JSONTree(Array(install(Self.theirs).utf8))
        tree["model"] = JSONTree("y")
        let removal = try HookSettings.removed(from: tree.pretty, original: Array(Self.theirs.utf8))
        guard case .text(let rest) = removal else {
            Issue.record("\(removal)")
            return
        }
        var expected = try JSONTree(Array(Self.theirs.utf8))
        expected["model"] = JSONTree("y")
        #expect(try JSONTree(rest) == expected)
        #expect(try HookSettings.removed(from: rest, original: nil) == .nothing)
    }

    @Test("Somebody's list of what may be asked gets one more; none is begun, and no token is written")
    func lists() throws {
        let installed = try JSONTree(Array(install(Self.theirs).utf8))
        #expect(installed["allowedHttpHookUrls"]?.elements?.map(\.text) == ["https://a", settings.url])
        #expect(installed["httpHookAllowedEnvVars"] == nil)
        #expect(try JSONTree(Array(install("{}").utf8))["allowedHttpHookUrls"] == nil)
        let handlers = try HookSettings.handlers(in: Array(install(Self.theirs).utf8))
        #expect(
            handlers.first { $0.event == "SessionStart" }?.command
                == "starling hook --agent ada SessionStart --installed")
        #expect(
            handlers.filter { $0.url == settings.url && $0.variables == ["STARLING_TOKEN"] }.count == handlers.count - 1
        )
        let last = try #require(handlers.first { $0.event == "SessionEnd" })
        #expect(last.headers.contains { $0 == ("Authorization", "Bearer $STARLING_TOKEN") })
    }

    @Test(
        "What is forbidden by an empty list stays forbidden; what a pattern lets pass needs no entry; of two servers one stays"
    )
    func policies() throws {
        #expect(throws: SettingsError.self) { try install(#"{"allowedHttpHookUrls":[]}"#) }
        let broad = try JSONTree(Array(install(#"{"allowedHttpHookUrls":["http://127.0.0.1:*"]}"#).utf8))
        #expect(broad["allowedHttpHookUrls"]?.elements?.count == 1)
        var other = settings
        other.url = "http://other/hooks"
        let moved = try JSONTree(other.installed(in: Array(install(Self.theirs).utf8), .claude))
        #expect(moved["allowedHttpHookUrls"]?.elements?.map(\.text) == ["https://a", other.url])
        let handler = try #require(HookSettings.handlers(in: moved.pretty).first { $0.event == "Stop" })
        #expect(HookSettings.obstacle(in: moved.pretty, to: handler) == nil && handler.timeout == 2)
        for text in [#"{"disableAllHooks":true}"#, #"{"allowedHttpHookUrls":["https://*/hooks"]}"#] {
            #expect(HookSettings.obstacle(in: Array(text.utf8), to: handler) != nil, "\(text)")
        }
        for (entry, text, passes) in [
            ("*", "", true), ("a*c", "abc", true), ("a*c", "ac", true), ("ab*bc", "abc", false),
            ("a*b*c", "axbyc", true), ("a*b*c", "acb", false),
            ("abc", "abc", true), ("abc", "abcd", false),
        ] { #expect(HookSettings.allows(entry, text) == passes, "\(entry) \(text)") }
    }

    @Test("The other harness's handlers stand at their events, whose names are in their URLs")
    func copilot() throws {
        let text = try settings.installed(in: nil, .copilot)
        #expect(try JSONTree(text)["version"] == JSONTree(1))
        let handlers = try HookSettings.handlers(in: text)
        #expect(handlers.map(\.url).contains("http://127.0.0.1:7827/hooks/postToolUse"))
        #expect(try HookSettings.removed(from: text, original: nil) == .deletion)
        var swarm = settings
        swarm.url += "?swarm=s"
        let urls = try HookSettings.handlers(in: swarm.installed(in: nil, .copilot)).map(\.url)
        #expect(urls.contains("http://127.0.0.1:7827/hooks/postToolUse?swarm=s"))
    }

    @Test(
        "What is no settings stays as it is, and is said",
        arguments: ["[]", "{", "// x\n{}", #"{"hooks":[]}"#, #"{"hooks":{"Stop":{}}}"#])
    func broken(text: String) {
        #expect(throws: SettingsError.self) { try install(text) }
    }
}
