import Foundation

/// Names of agents that give themselves none.
enum AgentName {
    /// A name that two folders, and two machines, do not share.
    static func make(of tool: String, in folder: String) -> String {
        // FNV-1a.
        let hash = folder.utf8.reduce(into: UInt32(2_166_136_261)) { $0 = ($0 ^ UInt32($1)) &* 16_777_619 }
        let digits = String(hash & 0xFFFF, radix: 16)
        let host = ProcessInfo.processInfo.hostName.prefix { $0 != "." }.prefix(40)
        return "\(tool)-\(host)-\(String(repeating: "0", count: 4 - digits.count))\(digits)"
    }
}
