import { Queue } from "./queue.js";
import { Register } from "./register.js";

/**
 * The writes that the server has not answered yet. Of the ones to a key that are not on their way, only the newest is kept. Each has
 * its full version from the start, so that sending it again is safe.
 *
 * A write is `{record, register, state, id, outcome, resolve, reject}`; its record is what a store keeps: `{key, version, value, ttl,
 * metadata, session, sequence}`, value and metadata as texts of JSON; its state is "waiting", "sent" or "done". What came later is what
 * `sequence` says: versions do not, where a clock was set back.
 */
export class Outbox {
  #store;
  /** By version, oldest first. */
  #all = new Map();
  /** What is to be sent, with some that are done already: first what was on its way before, then the others. */
  #again = new Queue();
  #unsent = new Queue();
  /** By the id on the wire. */
  #inFlight = new Map();
  /** The writes to each key, in the order they were made. */
  #byKey = new Map();
  #nextID = 1;
  #nextSequence = 1;
  #failed;

  /**
   * @param store keeps records over restarts: `put(record)`, `remove(version)`
   * @param {(error: Error) => void} failed is told when the store cannot forget a record
   */
  constructor(store, failed) {
    this.#store = store;
    this.#failed = failed;
  }

  get size() {
    return this.#all.size;
  }

  get inFlight() {
    return this.#inFlight.size;
  }

  /** The newest write to a key, as a register. */
  newest(key) {
    return this.#byKey.get(key)?.at(-1).register;
  }

  [Symbol.iterator]() {
    return this.#all.values();
  }

  /**
   * Puts a write in, and ends the one that it makes needless as superseded.
   *
   * @throws what the store throws; then nothing has happened
   */
  add(fields, { isStored = false } = {}) {
    const record = { ...fields, sequence: fields.sequence ?? this.#nextSequence };
    const write = makeWrite(record);
    write.isOfThisRun = !isStored;
    write.register.isOwn = true;
    if (!isStored) this.#store.put(record);
    this.#nextSequence = Math.max(this.#nextSequence, record.sequence + 1);
    this.#all.set(record.version, write);
    this.#enqueue(write);
    const writes = this.#byKey.get(record.key);
    if (writes === undefined) {
      this.#byKey.set(record.key, [write]);
    } else {
      const previous = writes.at(-1);
      writes.push(write);
      if (previous.state === "waiting") this.#collapse(previous, record.version);
    }
    return write;
  }

  #enqueue(write) {
    // One key written all the time while there is no server must not fill memory with what was collapsed.
    if (this.#unsent.length > 2 * this.#all.size + 1024) {
      this.#unsent.clear();
      for (const other of this.#all.values()) if (other.state === "waiting" && other !== write) this.#unsent.push(other);
      this.#again.clear();
    }
    this.#unsent.push(write);
  }

  #collapse(write, successor) {
    this.finish(write);
    write.resolve({ status: "superseded", applied: false, key: write.record.key, version: write.record.version, by: successor });
  }

  /** The next write to send; undefined if there is none. */
  take() {
    let write;
    do write = this.#again.shift() ?? this.#unsent.shift();
    while (write !== undefined && write.state !== "waiting");
    if (write === undefined) return undefined;
    write.state = "sent";
    write.id = this.#nextID++;
    this.#inFlight.set(write.id, write);
    return write;
  }

  /** The sequence of the write made last; 0: there was none. */
  get lastSequence() {
    return this.#nextSequence - 1;
  }

  /** The sequence of the first write that is not on its way; infinity: all are. */
  nextSequence() {
    let next = Infinity;
    for (const queue of [this.#again, this.#unsent]) {
      while (queue.first !== undefined && queue.first.state !== "waiting") queue.shift();
      if (queue.first !== undefined) next = Math.min(next, queue.first.record.sequence);
    }
    return next;
  }

  /** The write on its way under an id; undefined if there is none. */
  find(id) {
    return this.#inFlight.get(id);
  }

  /** Takes a write out that has its final answer. */
  finish(write) {
    write.state = "done";
    this.#inFlight.delete(write.id);
    this.#all.delete(write.record.version);
    const { key } = write.record;
    const rest = this.#byKey.get(key).filter((other) => other !== write);
    if (rest.length === 0) this.#byKey.delete(key);
    else this.#byKey.set(key, rest);
    this.#remove(write.stored);
  }

  #remove(version) {
    try {
      this.#store.remove(version);
    } catch (error) {
      // It is sent again after a restart, which is safe.
      this.#failed(error);
    }
  }

  /** Puts a write back that may be sent again, unless a later one makes it needless. */
  putBack(write) {
    this.#inFlight.delete(write.id);
    write.state = "waiting";
    const newest = this.#byKey.get(write.record.key).at(-1);
    if (newest === write) this.#again.push(write);
    else this.#collapse(write, newest.record.version);
  }

  /** The connection is gone: whatever was on its way may have to be sent again. */
  disconnected() {
    for (const write of [...this.#inFlight.values()]) this.putBack(write);
  }

  /** Stamps a write anew, unless a later one to its key makes it needless; nothing else of it changes. */
  restamp(write, version) {
    const newest = this.#byKey.get(write.record.key).at(-1);
    if (newest !== write) return this.#collapse(write, newest.record.version);
    const old = write.record.version;
    write.record = { ...write.record, version };
    write.register = Register.fromTexts({ ...write.record, expiresAt: expiry(write.record) });
    write.register.isOwn = true;
    // The new record first: a crash between the two leaves both, and the one with the greater version counts.
    try {
      this.#store.put(write.record);
      this.#remove(write.stored);
      write.stored = version;
    } catch (error) {
      // It is still sent by this run, and by the next one as it was.
      this.#failed(error);
    }
    this.#all.delete(old);
    this.#all.set(version, write);
    if (write.state === "sent") this.putBack(write);
  }

  /** Ends all of them here; a durable store keeps its records. */
  close(error) {
    for (const write of this.#all.values()) {
      write.state = "done";
      write.reject(error);
    }
    this.#all.clear();
    this.#byKey.clear();
    this.#inFlight.clear();
    this.#unsent.clear();
    this.#again.clear();
  }
}

function makeWrite(record) {
  const register = Register.fromTexts({ ...record, expiresAt: expiry(record) });
  const write = { record, register, state: "waiting", id: undefined, stored: record.version };
  write.outcome = new Promise((resolve, reject) => Object.assign(write, { resolve, reject }));
  // Whoever does not ask for the outcome is not to be stopped by it; it is logged.
  write.outcome.catch(() => {});
  return write;
}

/** When a write expires, as the server reckons: its stamp plus its time to live. */
function expiry({ version, ttl }) {
  return ttl === undefined ? undefined : parseInt(version.slice(0, 12), 16) + Math.ceil(ttl * 1000);
}

/** Keeps nothing over a restart. */
export class MemoryOutbox {
  isDurable = false;
  load() {
    return [];
  }
  put() {}
  remove() {}
  close() {}
}
