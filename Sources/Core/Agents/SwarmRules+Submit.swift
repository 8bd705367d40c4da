import Access
import Registers
import SyncEngine
import SyncProtocol

/// Making tasks: all of a submission, or none.
extension SwarmRules {
    /// A task of a submission, with the names that it will have.
    private struct Made {
        var new: NewTask
        var task: Segment
        var key: Key
    }

    func submit(
        _ tasks: [NewTask], _ caller: Caller, _ commit: inout some CallContext
    ) throws -> CallAnswer {
        let swarm = try swarmSlot(caller)
        let made = try name(tasks, caller, &commit)
        try checkLimits(made, swarm, caller, &commit)
        try checkDependencies(made, caller, &commit)
        let order = try Self.order(made)
        let settings = graph.settings(of: swarm)
        // The rows get their places in the order of the submission, whatever they wait for.
        var slots: [TaskSlot] = []
        for one in made {
            if let input = one.new.input {
                try put(SwarmKey.input(caller.swarm, task: one.task).key(), input, caller.request, &commit)
            }
            let row = TaskRow(one.new, task: one.task, swarm: caller.swarm, settings: settings, now: commit.now)
            let stored = try write(row, to: one.key, caller.request, &commit)
            slots.append(graph.insert(node(row, stored)))
        }
        for index in order {
            let row = TaskRow(
                made[index].new, task: made[index].task, swarm: caller.swarm, settings: settings, now: commit.now)
            try link(slots[index], row, &commit)
        }
        if settings.mirrors {
            for one in made {
                let row = TaskRow(one.new, task: one.task, swarm: caller.swarm, settings: settings, now: commit.now)
                try mirror(row, caller.request, &commit)
            }
        }
        var data = JSONWriter()
        data.add("tasks", number: made.count)
        var first = TaskRow(made[0].new, task: made[0].task, swarm: caller.swarm, settings: settings, now: commit.now)
        first.dependencies = []
        try log("submitted", data.finish(), first, caller.request, &commit)
        try settle(&commit)
        let ready = slots.count { graph.node($0).map { $0.status == .ready || $0.status == .working } ?? false }
        return Self.answer(made.map(\.task), ready: ready)
    }

    private static func answer(_ ids: [Segment], ready: Int) -> CallAnswer {
        var object = JSONWriter(continues: true)
        object.add("ids", ids.map(\.bytes))
        object.add("ready", number: ready)
        return CallAnswer(.tasks, members: object.finish())
    }

    /// Gives names to those that have none.
    private func name(
        _ tasks: [NewTask], _ caller: Caller, _ commit: inout some CallContext
    ) throws -> [Made] {
        var made: [Made] = []
        var taken: Set<Segment> = []
        for new in tasks {
            let task = try new.id ?? Segment(stamp(&commit).span)
            guard taken.insert(task).inserted else {
                throw WireError(.badMessage, "the task \(task) stands twice in the submission")
            }
            let key = try SwarmKey.task(caller.swarm, task).key()
            // What belongs to it has longer keys.
            _ = try SwarmKey.progress(caller.swarm, task: task).key()
            if let agent = new.agent, agent != caller.agent { try checkTopology(.assign, to: agent, caller) }
            // One that something waits for by its name is known also where its row is gone.
            if try commit.current(of: key)?.register.isTombstone == false || graph.find(key) != nil {
                throw WireError(
                    .exists, "there is a task \(task) in swarm \(caller.swarm) already",
                    hint:
                        "a submission that is sent again is known by its \"op\"; the name of a task that is over is taken until its row "
                        + "expires (--task-retention)")
            }
            guard caller.mayWrite(key) else { throw WireError(.forbidden, "writing \(key) is not allowed") }
            if new.input != nil { try checkIsFree(SwarmKey.input(caller.swarm, task: task).key(), &commit) }
            made.append(Made(new: new, task: task, key: key))
        }
        return made
    }

    private func checkLimits(
        _ made: [Made], _ swarm: SwarmSlot, _ caller: Caller, _ commit: inout some CallContext
    ) throws {
        if graph.live + made.count > limits.tasks {
            throw WireError(
                .tooManyTasks, "there are \(graph.live) tasks that are not over; the limit is \(limits.tasks)")
        }
        let live = graph.live(of: swarm)
        if live + made.count > limits.tasksOfSwarm {
            throw WireError(
                .tooManyTasks,
                "swarm \(caller.swarm) has \(live) tasks that are not over; the limit is \(limits.tasksOfSwarm)")
        }
        let keys = made.reduce(1) { $0 + ($1.new.input == nil ? 2 : 3) }
        if let room = try commit.room(of: caller.request), keys > room {
            throw WireError(
                .tooManyKeys,
                "\(made.count) tasks make up to \(keys) keys, and these credentials have room for \(max(0, room))")
        }
        for one in made {
            let row = TaskRow(
                one.new, task: one.task, swarm: caller.swarm, settings: graph.settings(of: swarm), now: commit.now)
            try checkSize(row)
        }
    }

    func checkSize(_ row: TaskRow) throws {
        let size = row.json.count
        guard size <= Self.maximumRowSize else {
            throw WireError(
                .tooLarge, "the row of task \(row.task) is \(size) bytes; the limit is \(Self.maximumRowSize)",
                hint: "what a task is about goes into \"input\"")
        }
    }

    private func checkDependencies(
        _ made: [Made], _ caller: Caller, _ commit: inout some CallContext
    ) throws {
        var known = Set(made.map(\.task))
        for one in made {
            for dependency in one.new.dependencies where known.insert(dependency).inserted {
                try checkIsThere(dependency, for: one.task, caller, &commit)
            }
        }
    }

    func checkIsThere(
        _ dependency: Segment, for task: Segment, _ caller: Caller, _ commit: inout some CallContext
    ) throws {
        let key = try SwarmKey.task(caller.swarm, dependency).key()
        // Else it would be told whether there is a task of that name.
        guard caller.mayRead(key) || caller.mayWrite(key) else {
            throw WireError(
                .forbidden, "task \(task) depends on \(dependency), which these credentials may neither read nor write")
        }
        // What is in the graph and not over has a row, which is not read for each of its dependents.
        if let slot = graph.find(key), !graph[slot].status.isTerminal { return }
        guard row(try commit.current(of: key), caller.swarm, dependency, withDependencies: false) == nil else { return }
        throw WireError(
            .missingDependency, "task \(task) depends on \(dependency), which there is not in swarm \(caller.swarm)",
            hint: "submit both together, or that one first")
    }

    /// The indices of tasks in an order in which each comes behind what it depends on.
    ///
    /// - Throws: ``WireError`` that names a cycle.
    private static func order(_ made: [Made]) throws(WireError) -> [Int] {
        let indices = Dictionary(uniqueKeysWithValues: made.enumerated().map { ($1.task, $0) })
        var unmet = made.map { one in one.new.dependencies.count { indices[$0] != nil } }
        var dependents = [[Int]](repeating: [], count: made.count)
        for (index, one) in made.enumerated() {
            for dependency in one.new.dependencies {
                if let first = indices[dependency] { dependents[first].append(index) }
            }
        }
        var order = made.indices.filter { unmet[$0] == 0 }
        var next = 0
        while next < order.count {
            for dependent in dependents[order[next]] {
                unmet[dependent] -= 1
                if unmet[dependent] == 0 { order.append(dependent) }
            }
            next += 1
        }
        guard order.count < made.count, let start = made.indices.first(where: { unmet[$0] > 0 }) else { return order }
        // From any task that is left, going back along what is left comes round to one that was passed before.
        var path: [Int] = []
        var index = start
        while !path.contains(index) {
            path.append(index)
            guard let back = made[index].new.dependencies.compactMap({ indices[$0] }).first(where: { unmet[$0] > 0 })
            else { preconditionFailure("what is left waits for what is left") }
            index = back
        }
        throw cycle((path.drop { $0 != index } + [index]).map { "\(made[$0].task)" })
    }

    /// - Parameter path: each depends on the next, and the last is the first again.
    static func cycle(_ path: [String]) -> WireError {
        let shown = path.count <= 20 ? path : path.prefix(20) + ["…"]
        return WireError(
            .cycle, "tasks would wait for each other: \(shown.joined(separator: " → "))",
            hint: "each task of the path depends on the next one")
    }
}
