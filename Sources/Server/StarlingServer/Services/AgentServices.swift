import Access
import Agents
import Follower
import Logging
import Loops
import NIOCore
import Registers
import SearchIndex
import SyncEngine
import SyncProtocol
import Synchronization

/// Answers the calls that are about several registers, or want the index: search, memories that are read, knowledge.
///
/// Each is a plain function over a connection of its caller's. Nothing here is on the path of a write.
final class AgentServices: Sendable {
    /// How many calls may be under way.
    private static let maximumCalls = 4_096

    let connections: InProcessConnections
    let index: SearchIndex
    let follower: Follower<SearchIndex>
    let counters: Counters
    let hooks = HookState()
    /// When a hook is answered at the latest.
    let deadlines = Deadlines(milliseconds: 200)
    let touches: Touches
    /// Of the database: what is counted is counted under it.
    let epoch: String
    private let drivers: [LoopDriver]
    private let running = Atomic<Int>(0)
    private let work = Mutex<[Task<Void, Never>]>([])

    /// - Parameters:
    ///   - path: where the index is kept; nil: in memory.
    ///   - epoch: of the database: what uses are counted under.
    init(_ drivers: [LoopDriver], _ authority: any Authority, path: String?, epoch: Epoch, logger: Logger) {
        self.drivers = drivers
        connections = InProcessConnections(drivers, authority)
        index = SearchIndex(path: path)
        let eventLoop = drivers[drivers.count - 1].eventLoop
        follower = Follower(index, patterns: SearchIndex.patterns, connections, on: eventLoop) { what in
            logger.warning("Search: \(what)")
        }
        self.epoch = String(decoding: epoch.bytes, as: UTF8.self)
        counters = Counters(connections, on: eventLoop, epoch: self.epoch)
        touches = Touches(connections, on: eventLoop)
    }

    func start() {
        work.withLock { work in
            work.append(Task.detached(priority: .utility) { [follower] in await follower.run() })
            work.append(Task.detached(priority: .utility) { [counters] in await counters.run() })
        }
    }

    /// Writes down what is only counted in memory, and follows no longer: before connections are drained.
    func stop() async {
        let tasks = work.withLock { work in
            defer { work = [] }
            return work
        }
        index.refuseMore()
        for task in tasks { task.cancel() }
        await counters.flush()
        for task in tasks { await task.value }
        try? await index.close()
    }

    /// A name for a record of this database's, which sorts by time.
    func stamp(_ now: WallTime) -> [UInt8] { hooks.stamp(now: now, node: epoch) }

    /// Answers a call, some time.
    func serve(_ request: ServiceRequest, loop: Int) {
        let driver = drivers[loop]
        guard running.add(1, ordering: .relaxed).newValue <= Self.maximumCalls else {
            running.subtract(1, ordering: .relaxed)
            let error = WireError(.overloaded, "\(Self.maximumCalls) calls wait for their answers already")
            return driver.deliver(.answered(ServiceAnswer(to: request, Self.text(of: error, to: request))))
        }
        Task {
            if case .hook(let call) = request.call.action {
                // What is done about it may go on when it is answered.
                await hook(call, request, on: driver.eventLoop) { members in
                    driver.deliver(.answered(ServiceAnswer(to: request, Self.message("hook", members, to: request))))
                }
                running.subtract(1, ordering: .relaxed)
                return
            }
            let message: ByteBuffer
            do throws(WireError) {
                message = try await answer(request, on: driver.eventLoop)
            } catch {
                message = Self.text(of: error, to: request)
            }
            running.subtract(1, ordering: .relaxed)
            driver.deliver(.answered(ServiceAnswer(to: request, message)))
        }
    }

    private static func text(of error: WireError, to request: ServiceRequest) -> ByteBuffer {
        var error = error
        error.id = request.call.id
        var message = ByteBuffer()
        ServerMessage.writeError(error, to: &message)
        return message
    }

    private func answer(
        _ request: ServiceRequest, on eventLoop: any EventLoop
    ) async throws(WireError) -> ByteBuffer {
        let writes = if case .learn = request.call.action { true } else { false }
        let caller = try await ServiceCaller(
            request.grant, agent: request.agent, session: request.session, connections, on: eventLoop, writes: writes)
        defer { caller.close() }
        let (type, members): (String, [UInt8]) =
            switch request.call.action {
            case .search(let search): ("results", try await self.search(search, request, caller))
            case .recall(let memory): ("memory", try await recall(memory, request, caller))
            case .learn(let new): ("knowledge", try await learn(new, request, caller))
            case .knowledge(let id): ("knowledge", try await knowledge(id, request, caller))
            case .topics(let filter): ("results", try await topics(filter, request, caller))
            case .hook: preconditionFailure("it has answers of its own")
            }
        return Self.message(type, members, to: request)
    }

    private static func message(_ type: String, _ members: [UInt8], to request: ServiceRequest) -> ByteBuffer {
        var message = ByteBuffer(string: "{\"type\":\"\(type)\"")
        if let id = request.call.id {
            message.writeString(",\"id\":")
            message.writeBytes(id.json)
        }
        message.writeBytes(members)
        message.writeString("}")
        return message
    }
}
