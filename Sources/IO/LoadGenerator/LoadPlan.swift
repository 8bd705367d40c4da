/// What a load generator is to do.
package struct LoadPlan: Sendable {
    package enum Scenario: String, CaseIterable, Sendable {
        /// One publisher, and every subscriber gets everything.
        case fanOut = "fan-out"
        /// Every subscriber has a pattern of its own; publishers write to keys at random.
        case pattern
        /// The same with patterns that no index finds: each of them is tried with each key.
        case wildcards
        /// Publishers that wait for their acknowledgements, and nobody who listens.
        case ingest
        /// Messages at a fixed rate, each timed from when it was due.
        case latency
        /// Connections that do nothing, each with a subscription.
        case idle
        /// A new subscriber is sent everything that is there.
        case snapshot
        /// Subscribers that were away come back all at once, each a few changes behind.
        case reconnect
    }

    package var scenario: Scenario
    /// Of subscribers.
    package var subscribers: Int
    package var publishers: Int
    /// How many messages are under way at a time: in all, or of each publisher in ``Scenario/ingest``.
    package var window: Int
    /// Messages a second of all publishers together; 0: as fast as the window allows.
    package var rate: Int
    /// Of a value, in bytes.
    package var valueSize: Int
    /// How many keys are written to.
    package var keys: Int
    /// How long to measure.
    package var seconds: Double
    /// How long to run before that.
    package var warmUp: Double
    /// ``Scenario/reconnect``: how many changes there were while the subscribers were away.
    package var missed = 100
    /// What all keys begin with.
    package var prefix: String

    /// The usual measures of a scenario.
    package init(_ scenario: Scenario, prefix: String) {
        self.scenario = scenario
        self.prefix = prefix
        (subscribers, publishers, window, rate, keys) =
            switch scenario {
            case .fanOut: (1_000, 1, 32, 0, 64)
            case .pattern, .wildcards: (1_000, 8, 256, 0, 10_000)
            case .ingest: (0, 16, 16, 0, 100_000)
            case .latency: (100, 1, 0, 1_000, 64)
            case .idle: (10_000, 0, 0, 0, 0)
            case .snapshot: (1, 16, 256, 0, 100_000)
            case .reconnect: (1_000, 16, 256, 200, 100_000)
            }
        valueSize = 128
        seconds = 3
        warmUp = 1
    }

    /// How many subscribers get each message.
    var receivers: Int {
        switch scenario {
        case .fanOut, .latency: subscribers
        case .pattern, .wildcards: 1
        case .ingest, .idle, .snapshot, .reconnect: 0
        }
    }

    /// The key with an index, below ``keys``.
    func key(_ index: Int) -> String {
        switch scenario {
        case .pattern, .wildcards, .reconnect: "\(prefix):\(index % max(1, subscribers)):\(index / subscribers)"
        default: "\(prefix):\(index)"
        }
    }

    /// The pattern of a subscriber.
    func pattern(_ subscriber: Int) -> String {
        switch scenario {
        case .pattern, .reconnect, .idle: "\(prefix):\(subscriber):*"
        case .wildcards: "**:\(subscriber):*"
        default: "\(prefix):*"
        }
    }
}

/// What a load generator has measured.
package struct LoadReport: Sendable {
    package var scenario: LoadPlan.Scenario
    /// How long was measured.
    package var seconds = 0.0
    package var published: UInt64 = 0
    package var acknowledged: UInt64 = 0
    package var delivered: UInt64 = 0
    package var refused: UInt64 = 0
    /// Deliveries that did not come: the server sends a slow subscriber only the latest value of each key.
    package var missing: UInt64 = 0
    /// The CPU time that the server used meanwhile, in seconds; nil where that is not known.
    package var serverSeconds: Double?
    /// Connections that were lost.
    package var lost = 0
    /// From when a message was sent, or due, to when a subscriber had it, in microseconds.
    package var deliveries = LatencyHistogram()
    /// To when it was acknowledged.
    package var acknowledgements = LatencyHistogram()
    /// How many connections were opened, and how long that took, subscriptions included.
    package var opened = 0
    package var openingSeconds = 0.0
    /// ``LoadPlan/Scenario/reconnect``: the deliveries of the live pair before the others came.
    package var calmDeliveries: LatencyHistogram?
}

/// How far a run is.
package struct LoadProgress: Sendable {
    package enum Phase: String, Sendable {
        case connecting, filling, measuring, cleaning = "cleaning up"
    }

    package var phase: Phase
    package var opened: Int
    package var delivered: UInt64
    package var acknowledged: UInt64
    /// Of deliveries, or of acknowledgements where nobody listens, in microseconds.
    package var p99: UInt64
}
