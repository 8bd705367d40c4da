import Agents
import SyncProtocol

/// Who makes a request, as far as that is known without its arguments.
package struct Requester: Sendable {
    /// The name that it writes under, by its credentials, a header or its MCP session.
    package var agent: String?
    /// What its program calls itself.
    package var client: String?
    /// Whether the name was made up for the time of an MCP session.
    package var isNameless: Bool

    package init(agent: String?, client: String?, isNameless: Bool = false) {
        self.agent = agent
        self.client = client
        self.isNameless = isNameless
    }

    /// Whose memories are meant where nobody is named: the same each time.
    var namespace: String { (isNameless ? nil : agent) ?? client.map(Self.name) ?? "shared" }

    /// A program's name as that of an agent: without what no name has.
    package static func name(_ client: String) -> String {
        let name = client.unicodeScalars.filter { $0.value >= 0x20 && $0.value != 0x7F }.reduce(into: "") {
            if $0.utf8.count < 100 { $0.unicodeScalars.append($1) }
        }
        return name.isEmpty ? "agent" : name
    }

    /// Who acts.
    ///
    /// - Parameter named: by the arguments.
    func actor(_ named: String?) throws(ToolFailure) -> String {
        guard let agent = named ?? agent else {
            throw .argument(
                "nothing says who you are", hint: "give agent: a name of your own, the same one in each call")
        }
        return agent
    }
}

/// An argument of a tool.
struct ToolField: Sendable {
    enum Kind: Sendable {
        case text
        case oneOf([String])
        case whole(ClosedRange<Int>)
        case number
        case flag
        case texts
        case object
        /// An array of objects with members.
        case objects([ToolField])
        /// Any JSON.
        case any
        /// A text, or null.
        case textOrNull
    }

    let name: String
    let kind: Kind
    let isRequired: Bool
    let note: String

    init(_ name: String, _ kind: Kind, required isRequired: Bool = false, _ note: String = "") {
        self.name = name
        self.kind = kind
        self.isRequired = isRequired
        self.note = note
    }

    /// Its JSON schema.
    var schema: [UInt8] {
        var schema = JSONWriter()
        switch kind {
        case .text: schema.add("type", "string")
        case .oneOf(let words):
            schema.add("type", "string")
            schema.add("enum", words.map { Array($0.utf8) })
        case .whole(let range):
            schema.add("type", "integer")
            schema.add("minimum", number: range.lowerBound)
            if range.upperBound < Int.max { schema.add("maximum", number: range.upperBound) }
        case .number: schema.add("type", "number")
        case .flag: schema.add("type", "boolean")
        case .texts:
            schema.add("type", "array")
            schema.add("items", raw: Array(#"{"type":"string"}"#.utf8))
        case .object: schema.add("type", "object")
        case .objects(let fields):
            schema.add("type", "array")
            schema.add("items", raw: ToolSchema.object(fields))
        case .any: break
        case .textOrNull: schema.add("type", [Array("string".utf8), Array("null".utf8)])
        }
        if !note.isEmpty { schema.add("description", note) }
        return schema.finish()
    }

    /// What is wrong with a value; nil: nothing.
    func problem(with json: [UInt8]) -> String? {
        let first = json.first ?? 0
        let isText = first == UInt8(ascii: "\"")
        switch kind {
        case .any: return nil
        case .text: return isText ? nil : "is a text"
        case .textOrNull: return isText || json.elementsEqual("null".utf8) ? nil : "is a text, or null"
        case .oneOf(let words):
            return JSONObject.string(json).map(words.contains) == true
                ? nil : "is one of \(words.joined(separator: ", "))"
        case .whole(let range):
            guard let number = Int(String(decoding: json, as: UTF8.self)), range.contains(number) else {
                return range.upperBound == Int.max
                    ? "is a whole number from \(range.lowerBound)"
                    : "is a whole number from \(range.lowerBound) to \(range.upperBound)"
            }
            return nil
        case .number: return first == UInt8(ascii: "-") || 0x30...0x39 ~= first ? nil : "is a number"
        case .flag: return Bool(String(decoding: json, as: UTF8.self)) == nil ? "is true or false" : nil
        case .texts:
            let elements = JSONObject.elements(of: json)
            return elements?.allSatisfy { $0.first == UInt8(ascii: "\"") } == true ? nil : "is an array of texts"
        case .object: return (try? JSONObject(json)) == nil ? "is an object" : nil
        case .objects(let fields):
            guard let elements = JSONObject.elements(of: json) else { return "is an array of objects" }
            for (index, element) in elements.enumerated() {
                guard let object = try? JSONObject(element) else { return "is an array of objects" }
                if let problem = ToolSchema.problem(with: object, fields) { return "has at place \(index): \(problem)" }
            }
            return nil
        }
    }
}

enum ToolSchema {
    static func object(_ fields: [ToolField]) -> [UInt8] {
        var properties = JSONWriter()
        for field in fields { properties.add(named: field.name, raw: field.schema) }
        var schema = JSONWriter()
        schema.add("type", "object")
        schema.add("properties", raw: properties.finish())
        let required = fields.filter(\.isRequired).map { Array($0.name.utf8) }
        if !required.isEmpty { schema.add("required", required) }
        schema.add("additionalProperties", false)
        return schema.finish()
    }

    /// What is wrong with the members of an object; nil: nothing.
    static func problem(with object: JSONObject, _ fields: [ToolField]) -> String? {
        var seen: Set<String> = []
        for (name, value) in object.members {
            guard let field = fields.first(where: { $0.name == name }) else {
                return "there is no \(name) here; there are \(fields.map(\.name).joined(separator: ", "))"
            }
            guard seen.insert(name).inserted else { return "\(name) is there twice" }
            if let problem = field.problem(with: value) { return "\(name) \(problem)" }
        }
        let missing = fields.filter { $0.isRequired && !seen.contains($0.name) }.map(\.name)
        return missing.isEmpty ? nil : "\(missing.joined(separator: " and ")) must be given"
    }
}

/// What a tool was given, once it is known to fit.
struct ToolArguments: Sendable {
    let object: JSONObject

    func text(_ name: String) -> String? { object.string(name) }
    func number(_ name: String) -> UInt64? { object.integer(name).flatMap { UInt64(exactly: $0) } }
    func raw(_ name: String) -> [UInt8]? { object.raw(name) }
    func flag(_ name: String) -> Bool? { object.bool(name) }
    func texts(_ name: String) -> [String] { (object.array(name) ?? []).compactMap { JSONObject.string($0) } }
    func has(_ name: String) -> Bool { object.raw(name) != nil }

    /// A text that has to be there.
    func required(_ name: String) throws(ToolFailure) -> String {
        guard let text = text(name) else { throw .argument("\(name) must be given") }
        return text
    }
}

/// Something that a model can call.
package struct Tool: Sendable {
    struct Hints: Sendable {
        var isReadOnly = false
        var isDestructive = false
        var isIdempotent = false

        static let reads = Hints(isReadOnly: true, isIdempotent: true)
        static let repeats = Hints(isIdempotent: true)
        static let acts = Hints()
        static let destroys = Hints(isDestructive: true, isIdempotent: true)

        var json: [UInt8] {
            var object = JSONWriter()
            object.add("readOnlyHint", isReadOnly)
            if !isReadOnly {
                object.add("destructiveHint", isDestructive)
                object.add("idempotentHint", isIdempotent)
            }
            object.add("openWorldHint", false)
            return object.finish()
        }
    }

    package let name: String
    let description: String
    let fields: [ToolField]
    /// The members of what it answers: name, and JSON schema.
    let output: KeyValuePairs<String, String>
    let hints: Hints
    private let body: @Sendable (ToolArguments, Requester) throws(ToolFailure) -> Plan

    init(
        _ name: String, _ description: String, _ hints: Hints, _ fields: [ToolField],
        output: KeyValuePairs<String, String>,
        body: @escaping @Sendable (ToolArguments, Requester) throws(ToolFailure) -> Plan
    ) {
        self.name = name
        self.description = description
        self.hints = hints
        self.fields = fields
        self.output = output
        self.body = body
    }

    /// What is to be done for a call.
    ///
    /// - Throws: ``ToolFailure`` where the arguments do not fit.
    func plan(_ arguments: JSONObject, _ requester: Requester) throws(ToolFailure) -> Plan {
        if let problem = ToolSchema.problem(with: arguments, fields) { throw .argument("\(name): \(problem)") }
        return try body(ToolArguments(object: arguments), requester)
    }

    /// As `tools/list` has it.
    func json(_ version: ProtocolVersion) -> [UInt8] {
        var tool = JSONWriter()
        tool.add("name", name)
        tool.add("description", description)
        tool.add("inputSchema", raw: ToolSchema.object(fields))
        if version.hasStructuredContent { tool.add("outputSchema", raw: outputSchema) }
        if version.hasAnnotations { tool.add("annotations", raw: hints.json) }
        return tool.finish()
    }

    /// Its first member is always there.
    private var outputSchema: [UInt8] {
        var properties = JSONWriter()
        for (name, schema) in output { properties.add(named: name, raw: Array(schema.utf8)) }
        var object = JSONWriter()
        object.add("type", "object")
        object.add("properties", raw: properties.finish())
        object.add("required", [Array((output.first?.key ?? "").utf8)])
        return object.finish()
    }
}
