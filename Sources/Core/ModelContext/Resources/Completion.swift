import Agents
import SyncProtocol

/// What could stand for an argument of a prompt or of a resource's template, by how it begins; never more than whoever asks may read.
enum Completion {
    /// The specification's own limit.
    private static let maximum = 100
    private static let maximumLooks = 24

    /// - Returns: nil where there is nothing to complete by that name.
    static func step(_ parameters: JSONObject) throws(RPCError) -> Step? {
        guard let argument = parameters.object("argument"), let name = argument.string("name"),
            let value = argument.string("value")
        else { throw RPCError(.invalidParameters, "argument has a name and a value") }
        guard value.utf8.count <= ResourceURI.maximumSize else {
            throw RPCError(.invalidParameters, "the argument's value is too long")
        }
        let context = parameters.object("context")?.object("arguments") ?? JSONObject()
        guard let reference = parameters.object("ref") else { throw RPCError(.invalidParameters, "ref is no object") }
        switch reference.string("type") {
        case "ref/prompt":
            guard let prompt = reference.string("name"), let known = Prompt.all.first(where: { $0.name == prompt })
            else {
                throw RPCError(.invalidParameters, "there is no prompt by that name")
            }
            guard known.arguments.contains(where: { $0.name == name }) else { return nil }
        case "ref/resource":
            guard let uri = reference.string("uri"), Resources.templates.contains(where: { $0.uri == uri }) else {
                throw RPCError(.invalidParameters, "there is no template by that uri")
            }
        default: throw RPCError(.invalidParameters, "ref.type is ref/prompt or ref/resource")
        }
        return step(name, value, context)
    }

    private static func step(_ name: String, _ value: String, _ context: JSONObject) -> Step? {
        let literal = SwarmPattern.literal
        func escaped(_ text: String) -> String { literal(escape(text)) }
        switch name {
        case "key": return keys(literal(value) + "*") { $0 }
        case "pattern":
            // What begins with wildcards begins with anything.
            return keys(value.hasSuffix("*") ? value : value + "*") { $0 }
        case "swarm": return names("swarm:\(escaped(value))*:config", at: 1, of: 3)
        case "task":
            guard let swarm = context.string("swarm") else { return nothing }
            return names("swarm:\(escaped(swarm)):task:\(escaped(value))*", at: 3, of: 4)
        case "agent":
            guard let swarm = context.string("swarm") else { return agents(value, after: nil, found: [], looks: 1) }
            return names("swarm:\(escaped(swarm)):member:\(escaped(value))*", at: 3, of: 4)
        case "id": return names("knowledge:\(escaped(value))*", at: 1, of: 2)
        case "topic": return topics(value)
        default: return nil
        }
    }

    private static func escape(_ text: String) -> String {
        text.reduce(into: "") { $0 += $1 == "%" ? "%25" : $1 == ":" ? "%3A" : String($1) }
    }

    static let nothing = Step.done(result([], isMore: false))

    private static func keys(_ pattern: String, _ shown: @escaping @Sendable (String) -> String) -> Step {
        list(pattern) { keys, isMore in result(keys.map(shown), isMore: isMore) }
    }

    /// The names at a place of keys with so many segments.
    private static func names(_ pattern: String, at place: Int, of count: Int) -> Step {
        list(pattern) { keys, isMore in
            var names: [String] = []
            for key in keys {
                let parts = key.split(separator: ":", omittingEmptySubsequences: false)
                guard parts.count == count, let name = URIText.decode(parts[place]), names.last != name else {
                    continue
                }
                names.append(name)
            }
            return result(names, isMore: isMore)
        }
    }

    private static func list(
        _ pattern: String, _ make: @escaping @Sendable ([String], Bool) -> [UInt8]
    ) -> Step {
        var message = SyncMessage("list")
        message.add("pattern", pattern)
        message.add("limit", 1_000)
        return .ask([message]) { answers in
            // What may not be read, or is no pattern, is nothing.
            guard let answer = try? answers[0].get() else { return nothing }
            return .done(make(Listed.of(answer).compactMap { $0.string("key") }, answer.raw("next") != nil))
        }
    }

    /// Agents with memories: each time the first one behind all memories of the one before.
    private static func agents(_ value: String, after: String?, found: [String], looks: Int) -> Step {
        var message = SyncMessage("list")
        message.add("pattern", "memory:" + SwarmPattern.literal(escape(value)) + "*")
        message.add("limit", 1)
        message.add("after", after)
        return .ask([message]) { answers in
            guard let answer = try? answers[0].get(), let key = Listed.of(answer).first?.string("key"),
                looks <= maximumLooks
            else { return .done(result(found, isMore: looks > maximumLooks)) }
            let parts = key.split(separator: ":", omittingEmptySubsequences: false)
            guard parts.count >= 3, let name = URIText.decode(parts[1]) else {
                return .done(result(found, isMore: true))
            }
            // ';' is what comes behind ':'.
            return agents(
                value, after: "memory:\(parts[1]);", found: found.last == name ? found : found + [name],
                looks: looks + 1)
        }
    }

    private static func topics(_ value: String) -> Step {
        var message = SyncMessage("knowledge.list")
        message.add("limit", 1_000)
        return .ask([message]) { answers in
            guard let answer = try? answers[0].get() else { return nothing }
            let begin = value.lowercased()
            let topics = (answer.array("results") ?? []).compactMap { (try? JSONObject($0))?.string("topic") }.filter {
                $0.lowercased().hasPrefix(begin)
            }
            return .done(result(Array(Set(topics)).sorted(), isMore: answer.raw("next") != nil))
        }
    }

    private static func result(_ values: [String], isMore: Bool) -> [UInt8] {
        var completion = JSONWriter()
        completion.add("values", values.prefix(maximum).map { Array($0.utf8) })
        if !isMore { completion.add("total", number: values.count) }
        completion.add("hasMore", isMore || values.count > maximum)
        var result = JSONWriter()
        result.add("completion", raw: completion.finish())
        return result.finish()
    }
}
