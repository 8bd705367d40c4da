import Foundation

#if canImport(Glibc)
    import Glibc
#endif

/// What a thread is for, as the kernel is told.
enum ThreadRole {
    /// What nobody waits for as for a live update: it gets a third of the time of others that want the same core.
    static func yieldToOthers() {
        #if os(Linux)
            // 0 is the calling thread; elsewhere it is the whole process.
            _ = setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, 5)
        #endif
    }

    /// Gives the calling thread a name that `top` and `perf` show: up to 15 bytes.
    static func name(_ name: String) {
        #if os(Linux)
            // pthread_setname_np is not to be had from Swift.
            try? Data(name.utf8).write(to: URL(fileURLWithPath: "/proc/thread-self/comm"))
        #endif
    }
}
