/// The rules of tasks in a few lines, over rows alone and with everything asked anew each time: what the real ones are compared with.
struct TaskModel {
    struct Row {
        var status = "pending"
        var dependencies: Set<String>
        var policy: String
        var attempt = 0
        var notBefore = 0
        /// Whether it was handed out before: what it depends on is behind it.
        var hasStarted = false
    }

    private(set) var rows: [String: Row] = [:]
    /// Who has each task.
    private(set) var holders: [String: Int] = [:]
    private var waiters: [Int] = []
    /// In seconds.
    private var now = 0

    static let over: Set<String> = ["completed", "failed", "cancelled"]

    private func isMet(_ row: Row, _ dependency: String) -> Bool {
        guard let status = rows[dependency]?.status else { return false }
        return status == "completed" || (row.policy == "run" && Self.over.contains(status))
    }

    private func isDead(_ row: Row) -> Bool {
        row.policy == "cancel" && !row.hasStarted
            && row.dependencies.contains { ["failed", "cancelled"].contains(rows[$0]?.status) }
    }

    /// Whatever follows by itself, until nothing does.
    private mutating func settle() {
        var isMore = true
        while isMore {
            isMore = false
            for (task, row) in rows where row.status == "pending" {
                if isDead(row) {
                    rows[task]?.status = "cancelled"
                    isMore = true
                } else if row.notBefore <= now, row.hasStarted || row.dependencies.allSatisfy({ isMet(row, $0) }) {
                    rows[task]?.status = "ready"
                    isMore = true
                }
            }
        }
        while let first = rows.filter({ $0.value.status == "ready" }).keys.min(), !waiters.isEmpty {
            rows[first]?.status = "working"
            rows[first]?.attempt += 1
            rows[first]?.hasStarted = true
            holders[first] = waiters.removeFirst()
        }
    }

    mutating func submit(_ tasks: [(name: String, dependencies: Set<String>, policy: String)]) {
        for (name, dependencies, policy) in tasks { rows[name] = Row(dependencies: dependencies, policy: policy) }
        settle()
    }

    mutating func next(_ caller: Int) {
        waiters.append(caller)
        settle()
    }

    mutating func finish(_ task: String, as status: String) {
        holders[task] = nil
        rows[task]?.status = status
        settle()
    }

    mutating func lose(_ task: String, isCounted: Bool) {
        holders[task] = nil
        guard var row = rows[task] else { return }
        if isCounted, row.attempt >= 3 {
            row.status = "failed"
        } else {
            row.status = "pending"
            row.notBefore = isCounted ? now + 1 << row.attempt : 0
            if !isCounted { row.attempt -= 1 }
        }
        rows[task] = row
        settle()
    }

    mutating func retry(_ task: String) {
        guard var row = rows[task], ["failed", "cancelled"].contains(row.status) else { return }
        row.hasStarted = false
        if isDead(row) { return }
        row.status = "pending"
        row.attempt = 0
        row.notBefore = 0
        rows[task] = row
        settle()
    }

    mutating func tick() {
        now += 1
        settle()
    }
}
