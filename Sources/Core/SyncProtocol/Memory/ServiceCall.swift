package import Registers

/// A call that is answered out of several registers, or with the help of an index: by a service beside the engine, which reads and writes for its
/// caller as any connection does. It is answered out of order, by its id.
package final class ServiceCall: Sendable {
    package enum Name: String, CaseIterable, Sendable {
        case search
        case memoryGet = "memory.get"
        case knowledgePut = "knowledge.put"
        case knowledgeGet = "knowledge.get"
        case knowledgeList = "knowledge.list"
        case hook
    }

    package enum Action: Sendable {
        case search(Search)
        case recall(MemoryKey)
        case learn(NewKnowledge)
        case knowledge(Segment)
        case topics(KnowledgeFilter)
        case hook(HookCall)
    }

    package let name: Name
    package let id: RequestID?
    package let op: [UInt8]?
    package let action: Action

    package init(_ name: Name, id: RequestID?, op: [UInt8]? = nil, action: Action) {
        self.name = name
        self.id = id
        self.op = op
        self.action = action
    }
}

/// What can be searched.
package enum SearchKind: String, CaseIterable, Sendable {
    case memory, knowledge
}

/// `{"type":"search","query":…}`
package struct Search: Equatable, Sendable {
    package enum Order: String, CaseIterable, Sendable {
        /// The best match first.
        case relevance
        /// The surest first, and among equals what was used most.
        case seed
    }

    package enum Match: String, CaseIterable, Sendable {
        /// What the query says: all of its words, unless it says otherwise.
        case all
        /// Some of its words: those that are in the fewest texts.
        case any
    }

    /// The greatest length of a query, in bytes.
    package static let maximumQuery = 1_024
    package static let maximumLimit = 100

    /// Text; never syntax of anything.
    package var query: [UInt8]
    package var kinds = Set(SearchKind.allCases)
    /// Whose memories; nil: everybody's.
    package var agent: Segment?
    /// What keys have to match; nil: anything.
    package var pattern: Pattern?
    /// What has to be there all of.
    package var tags: [[UInt8]] = []
    package var limit = 10
    package var order = Order.relevance
    package var match = Match.all
    /// The session whose own memories do not count; nil: all do.
    package var exceptSession: [UInt8]?
    /// How many finds of each kind are wanted at most; where nothing is said, as many as of all.
    package var limits: [SearchKind: Int] = [:]
    /// For how long it waits at most until all is found that was acknowledged before, in milliseconds.
    package var patience = 250

    package init(query: [UInt8]) { self.query = query }
}

/// `{"type":"knowledge.put","topic":…,"content":…}`
package struct NewKnowledge: Equatable, Sendable {
    /// The greatest length of a topic, in bytes.
    package static let maximumTopic = 256

    /// nil: made of topic and content.
    package var id: Segment?
    package var topic: [UInt8]
    package var content: [UInt8]
    package var tags: [[UInt8]] = []
    package var source: [UInt8]?
    /// From 0 to 1, as its JSON.
    package var confidence: [UInt8]?
    /// The id of what this takes the place of.
    package var supersedes: Segment?
    /// In seconds, as its JSON; nil: for ever.
    package var timeToLive: [UInt8]?

    package init(topic: [UInt8], content: [UInt8]) {
        self.topic = topic
        self.content = content
    }
}

/// `{"type":"knowledge.list","topic":…,"tag":…}`
package struct KnowledgeFilter: Equatable, Sendable {
    package static let maximumLimit = 1_000

    package var topic: [UInt8]?
    package var tag: [UInt8]?
    package var limit = 100
    package var after: Key?

    package init() {}
}

/// `{"type":"hook","event":…,"input":{…}}`
package struct HookCall: Equatable, Sendable {
    /// What the event is called; nil: the input says it.
    package var event: [UInt8]?
    /// What a harness has said: the JSON of an object.
    package var input: [UInt8]
    /// Whose work it is; nil: the connection's agent's.
    package var agent: Agent?
    /// Where the agent's messages and tasks are.
    package var swarm: Segment?
    /// Whether what was written may be kept, and not only that it was.
    package var keepsContent = true

    package init(input: [UInt8]) { self.input = input }
}
