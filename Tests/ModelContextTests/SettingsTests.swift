import Testing

@testable import ModelContext

/// The entry in other programs' settings.
struct SettingsTests {
    private static let settings = MCPSettings(
        command: "/a \"b\"/starling", arguments: ["mcp", "--agent", "x"], environment: [("STARLING_TOKEN", "${T}")],
        passedOn: ["STARLING_TOKEN"])
    private static let json = MCPSettings.Layout.json(servers: "mcpServers", saysType: true)

    private func installed(_ text: String?, _ layout: MCPSettings.Layout) throws -> String {
        String(decoding: try Self.settings.installed(in: text.map { Array($0.utf8) }, layout), as: UTF8.self)
    }

    @Test("JSON: everything else stays in its order, done twice is done once, and what is no settings is refused")
    func json() throws {
        let before = #"{"z":1.50,"mcpServers":{"other":{"command":"o"}},"a":{"b":[]}}"#
        let once = try installed(before, Self.json)
        #expect(try installed(once, Self.json) == once)
        #expect(once.contains(#""z": 1.50"#) && once.contains(#""other""#) && once.contains(#""${T}""#))
        #expect(once.contains(#""command": "/a \"b\"/starling""#) && once.contains(#""type": "stdio""#))
        #expect(try installed(nil, Self.json) == installed("  \n", Self.json))
        #expect(try installed("\u{FEFF}" + before, Self.json) == once)
        for bad in ["[]", "// c\n{}", "{", #"{"mcpServers":[]}"#, #"{"mcpServers":{},"mcpServers":{}}"#] {
            #expect(throws: MCPSettings.Problem.self, "\(bad)") { _ = try installed(bad, Self.json) }
        }
    }

    @Test("TOML: our table is added, or takes the place of the one there was; comments and other tables stay")
    func toml() throws {
        let table = """
            [mcp_servers.starling]
            command = "/a \\"b\\"/starling"
            args = ["mcp", "--agent", "x"]
            env_vars = ["STARLING_TOKEN"]

            """
        #expect(try installed(nil, .toml) == table)
        let others = "# mine\n[mcp_servers.other]\nargs = [\n  \"a\",\n]\n"
        #expect(try installed(others, .toml) == others + "\n" + table)
        let windows = try installed("a = 1\r\n[mcp_servers.starling]\r\ncommand = \"x\"\r\n[b]\r\nc = 1\r\n", .toml)
        #expect(windows == "a = 1\r\n[b]\r\nc = 1\r\n\n" + table)
        let root = "model = \"m\" # x\n\n"
        #expect(try installed(root + others, .toml) == root + others + "\n" + table)
        for old in [
            "[mcp_servers.starling]\ncommand = \"old\"\n[mcp_servers.starling.env]\nA = \"1\"\n",
            "[ mcp_servers . \"starling\" ]\ncommand = \"old\"\n",
        ] {
            let text = try installed(old + others, .toml)
            #expect(text == others + "\n" + table, "\(old)")
            #expect(try installed(text, .toml) == text)
        }
        let commented =
            "[mcp_servers.starling] # see [docs], please\nargs = [\n  [\"a\"]\n]\n[q]\nmcp_servers.starling.foo = 1\n"
        #expect(try installed(commented, .toml) == "[q]\nmcp_servers.starling.foo = 1\n\n" + table)
        for bad in [
            "mcp_servers.starling.command = \"x\"\n", "mcp_servers = { starling = {} }\n",
            "[mcp_servers]\nstarling = { command = \"old\" }\n", "[mcp_servers]\nstarling.command = \"old\"\n",
            "x = \"\"\"\n[mcp_servers.starling]\nkeep me\n\"\"\"\n",
        ] {
            #expect(throws: MCPSettings.Problem.self, "\(bad)") { _ = try installed(bad, .toml) }
        }
    }
}
