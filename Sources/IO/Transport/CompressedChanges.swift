import NIOCore
import SyncEngine
import WebSocket

/// The changes of the batch under way, compressed: each once, in however many deliveries it is.
struct CompressedChanges {
    private var batch: CommittedBatch?
    private var frames: [Int32: ByteBuffer] = [:]

    mutating func frames(of delivery: Delivery, by deflater: FrameDeflater) -> ByteBuffer {
        guard let batch = delivery.batch else { return deflater.encode(delivery.frames) }
        let isLarge = { (change: CommittedBatch.Change) in change.end - change.start >= FrameDeflater.threshold }
        guard delivery.changes.contains(where: { isLarge(batch.changes[Int($0)]) }) else { return delivery.frames }
        if self.batch !== batch {
            self.batch = batch
            frames.removeAll(keepingCapacity: true)
        }
        var output = ByteBuffer()
        for place in delivery.changes {
            output.writeImmutableBuffer(frame(place, batch, by: deflater))
        }
        return output
    }

    private mutating func frame(_ place: Int32, _ batch: CommittedBatch, by deflater: FrameDeflater) -> ByteBuffer {
        if let known = frames[place] { return known }
        let frame = deflater.encode(batch.frames(Int(place)..<(Int(place) + 1)))
        frames[place] = frame
        return frame
    }
}
