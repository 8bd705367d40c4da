import ArgumentParser
import Configuration

/// The options of `starling serve` that the environment gives: `STARLING_PORT` for `--port`.
struct Environment {
    private let reader = ConfigReader(provider: EnvironmentVariablesProvider())

    func string(_ option: String) throws -> String? {
        let text = reader.string(forKey: key(option))
        return text?.isEmpty == true ? nil : text
    }

    func integer(_ option: String) throws -> Int? {
        try value(option, as: { Int($0) })
    }

    func bool(_ option: String) throws -> Bool? {
        try value(
            option,
            as: { text -> Bool? in
                switch text {
                case "1", "true", "yes": true
                case "0", "false", "no": false
                default: nil
                }
            })
    }

    /// A list with commas.
    func list(_ option: String) throws -> [String] {
        try string(option)?.split(separator: ",").map(String.init) ?? []
    }

    /// Reads a value of any kind.
    ///
    /// - Throws: `UsageError` when there is one, but `parse` makes nothing of it.
    func value<Value>(_ option: String, as parse: (String) -> Value?) throws -> Value? {
        guard let text = try string(option) else { return nil }
        guard let value = parse(text) else {
            throw UsageError("\(Self.variable(option)) is \"\(text)\", which --\(option) does not take")
        }
        return value
    }

    /// A number that is given on the command line, or else in the environment.
    func integer(_ option: String, _ given: Int?, _ range: ClosedRange<Int>) throws -> Int? {
        guard let value = try given ?? integer(option) else { return nil }
        guard range ~= value else {
            throw UsageError("--\(option) is \(value); it must be from \(range.lowerBound) to \(range.upperBound)")
        }
        return value
    }

    /// A number of seconds that is given on the command line, or else in the environment.
    func seconds(_ option: String, _ given: Int?, _ range: ClosedRange<Int>) throws -> Duration? {
        try integer(option, given, range).map { .seconds($0) }
    }

    private func key(_ option: String) -> ConfigKey {
        ConfigKey(["starling"] + option.split(separator: "-").map(String.init))
    }

    static func variable(_ option: String) -> String {
        "STARLING_" + option.uppercased().replacing("-", with: "_")
    }
}
