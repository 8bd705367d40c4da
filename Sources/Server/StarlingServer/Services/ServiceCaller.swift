import Access
import Loops
import NIOCore
import Registers
import SyncEngine
import SyncProtocol

/// Reads and writes in the name of who made a call: on a connection with the same grant, agent and session, so that what that one may not, a service
/// for it may not either.
struct ServiceCaller {
    private let connection: InProcessConnection

    /// - Throws: ``WireError`` where the call's grant is not good any more.
    ///
    /// - Parameters:
    ///   - agent: who writes.
    ///   - writes: whether it writes at all.
    init(
        _ grant: Grant, agent: Agent, session: [UInt8]?, _ connections: InProcessConnections,
        on eventLoop: any EventLoop, writes: Bool
    ) async throws(WireError) {
        do throws(AccessRefusal) {
            connection = try await connections.open(grant.unlimited, on: eventLoop, isTaken: false)
        } catch {
            throw WireError(.accessChanged, "what these credentials allow has changed")
        }
        guard writes else { return }
        var hello = SyncMessage("hello")
        hello.add("agent", "\(agent)")
        hello.add("session", session.map { String(decoding: $0, as: UTF8.self) })
        // What comes behind it is under that name; and a name that may not be is refused where it was given.
        connection.send(hello)
    }

    func close() { connection.close() }

    /// Asks something.
    ///
    /// - Throws: ``WireError``: what is answered, where that is an error.
    func ask(_ message: SyncMessage) async throws(WireError) -> JSONObject {
        let text: ByteBuffer
        do throws(ConnectionEnd) {
            text = try await connection.ask(message)
        } catch {
            throw WireError(error.wasSent ? .outcomeUnknown : error.code ?? .shuttingDown, error.reason)
        }
        return try Self.checked(text)
    }

    private static func checked(_ text: ByteBuffer) throws(WireError) -> JSONObject {
        guard let answer = try? JSONObject(Array(text.readableBytesView)) else {
            throw WireError(.storageFailed, "the answer is no JSON")
        }
        guard answer.string("type") == "error" else { return answer }
        throw WireError(
            answer.string("code").flatMap(ErrorCode.init) ?? .storageFailed, answer.string("message") ?? "refused",
            hint: answer.string("hint"))
    }

    /// The registers of some keys, in their order; nil: there is none, or none that may be read.
    func get(_ keys: [Key]) async throws(WireError) -> [JSONObject?] {
        let questions = keys.map { key in
            var message = SyncMessage("get")
            message.add("key", "\(key)")
            return message
        }
        let texts: [ByteBuffer]
        do throws(ConnectionEnd) {
            texts = try await connection.ask(questions)
        } catch {
            throw WireError(error.code ?? .shuttingDown, error.reason)
        }
        var registers: [JSONObject?] = []
        for text in texts {
            do throws(WireError) {
                let answer = try Self.checked(text)
                registers.append(answer.bool("found") == true ? answer : nil)
            } catch {
                // What may not be read any more is not there.
                guard error.code == .forbidden else { throw error }
                registers.append(nil)
            }
        }
        return registers
    }

    /// The register of a key, as `register` has it; nil: there is none.
    func get(_ key: Key) async throws(WireError) -> JSONObject? {
        var message = SyncMessage("get")
        message.add("key", "\(key)")
        let answer = try await ask(message)
        return answer.bool("found") == true ? answer : nil
    }
}
