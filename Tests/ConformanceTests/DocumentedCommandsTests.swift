import Foundation
import TestSupport
import Testing

extension ConformanceTests {
    /// What the documents say to type is typed, in their order, against a server.
    struct DocumentedCommandsTests {
        @Test("Each line of docs/http.md that asks the server is answered, and none by an error")
        func http() throws {
            let text = try String(contentsOf: Repository.file("docs/http.md"), encoding: .utf8)
            let lines = text.split(separator: "\n").filter { $0.hasPrefix("    ") }.map { String($0.dropFirst(4)) }
            #expect(lines.count > 12 && lines.filter { $0.contains("curl") }.count == lines.count)
            let server = try ServerProcess()
            let script = lines.map { $0.replacing("localhost:7827", with: "localhost:\(server.port)") }
                .map { $0.replacing("curl ", with: "curl --fail-with-body --silent --show-error ") }
                .map { "echo; \($0) || { echo \"failed: line\"; exit 1; }" }.joined(separator: "\n")
            let (status, output, errors) = try ServerProcess.run(
                ["bash", "-c", script], program: URL(filePath: "/usr/bin/env"))
            #expect(status == 0, "\(output) \(errors)")
            #expect(
                output.contains("event: synced") && output.contains("\"fence\"")
                    && output.contains("{\"state\":\"open\"}"))
        }
    }
}
