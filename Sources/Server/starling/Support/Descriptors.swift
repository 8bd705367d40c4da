import Foundation
import StarlingServer

/// How many files and connections this process may have open.
enum Descriptors {
    /// What a server needs before its first connection: the database three times over, event loops, files that are watched.
    private static let least = 64

    /// Raises the limit as far as it goes without more rights.
    ///
    /// - Throws: ``ServerError`` where that is not enough to start with.
    static func raise() throws {
        var limit = rlimit()
        guard getrlimit(resource, &limit) == 0 else { return }
        if limit.rlim_cur < limit.rlim_max {
            limit.rlim_cur = limit.rlim_max
            // Where that is not allowed, as on some systems, the limit stays what it was.
            if setrlimit(resource, &limit) != 0 { getrlimit(resource, &limit) }
        }
        guard limit.rlim_cur >= least else {
            throw ServerError(
                "this process may have \(limit.rlim_cur) files open (ulimit -n); a server needs \(least), and one more for each connection"
            )
        }
    }

    #if canImport(Glibc)
        private static let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
    #else
        private static let resource = RLIMIT_NOFILE
    #endif
}
