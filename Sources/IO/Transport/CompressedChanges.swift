import NIOCore
import SyncEngine
import WebSocket

/// The changes of the commit under way, compressed: each once, in however many deliveries it is.
struct CompressedChanges {
    private var commit: CommittedChanges?
    private var frames: [Int32: ByteBuffer] = [:]

    mutating func frames(of delivery: Delivery, by deflater: FrameDeflater) -> ByteBuffer {
        guard let commit = delivery.commit else { return deflater.encode(delivery.frames) }
        let isLarge = { (change: CommittedChanges.Change) in change.end - change.start >= FrameDeflater.threshold }
        guard delivery.changes.contains(where: { isLarge(commit.changes[Int($0)]) }) else { return delivery.frames }
        if self.commit !== commit {
            self.commit = commit
            frames.removeAll(keepingCapacity: true)
        }
        var output = ByteBuffer()
        for place in delivery.changes {
            output.writeImmutableBuffer(frame(place, commit, by: deflater))
        }
        return output
    }

    private mutating func frame(_ place: Int32, _ commit: CommittedChanges, by deflater: FrameDeflater) -> ByteBuffer {
        if let known = frames[place] { return known }
        let frame = deflater.encode(commit.frames(Int(place)..<(Int(place) + 1)))
        frames[place] = frame
        return frame
    }
}
