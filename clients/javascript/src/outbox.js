import { Queue } from "./queue.js";
import { Register } from "./register.js";
import { compareText } from "./text.js";

/**
 * The writes that the server has not answered yet. Of the ones to a key that are not on their way, only the newest is kept. Each has
 * its full version from the start, so that sending it again is safe.
 *
 * A write is `{record, register, state, id, outcome, resolve, reject}`; its record is what a store keeps: `{key, version, value, ttl,
 * metadata, session}`, value and metadata as texts of JSON; its state is "waiting", "sent" or "done".
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
  /** The writes to each key, by rising version. */
  #byKey = new Map();
  #nextID = 1;

  /** @param store keeps records over restarts: `put(record)`, `remove(version)` */
  constructor(store) {
    this.#store = store;
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

  /** Puts a write in, and ends the one that it makes needless as superseded. */
  add(record, { isStored = false } = {}) {
    const write = makeWrite(record);
    if (!isStored) this.#store.put(record);
    this.#all.set(record.version, write);
    this.#unsent.push(write);
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

  /** The write on its way under an id; undefined if there is none. */
  find(id) {
    return this.#inFlight.get(id);
  }

  /** Takes a write out that has its final answer. */
  finish(write) {
    write.state = "done";
    this.#inFlight.delete(write.id);
    this.#all.delete(write.record.version);
    this.#store.remove(write.record.version);
    const { key } = write.record;
    const rest = this.#byKey.get(key).filter((other) => other !== write);
    if (rest.length === 0) this.#byKey.delete(key);
    else this.#byKey.set(key, rest);
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

  /** Stamps a write anew; nothing else of it changes. */
  restamp(write, version) {
    const old = write.record.version;
    write.record = { ...write.record, version };
    write.register = Register.fromTexts({ ...write.record, expiresAt: expiry(write.record) });
    // The new record first: a crash between the two leaves both, of which the newer one wins.
    this.#store.put(write.record);
    this.#store.remove(old);
    this.#all.delete(old);
    this.#all.set(version, write);
    const writes = this.#byKey.get(write.record.key);
    writes.sort((a, b) => compareText(a.record.version, b.record.version));
    if (write.state === "sent") this.putBack(write);
  }
}

function makeWrite(record) {
  const register = Register.fromTexts({ ...record, expiresAt: expiry(record) });
  const write = { record, register, state: "waiting", id: undefined };
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
  load() {
    return [];
  }
  put() {}
  remove() {}
  close() {}
}
