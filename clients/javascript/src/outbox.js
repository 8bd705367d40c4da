import { Register } from "./register.js";
import { compareText } from "./text.js";

/**
 * The writes that the server has not answered yet, oldest first. Of the ones to a key that are not on their way, only the newest is
 * kept. Each has its full version from the start, so that sending it again is safe.
 *
 * A write is `{record, register, isSent, outcome, resolve, reject}`, its record what a store keeps: `{key, version, value, ttl,
 * metadata, session}`, value and metadata as texts of JSON.
 */
export class Outbox {
  #store;
  /** By version. */
  #unsent = new Map();
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
    return this.#unsent.size + this.#inFlight.size;
  }

  get inFlight() {
    return this.#inFlight.size;
  }

  /** The newest write to a key, as a register. */
  newest(key) {
    return this.#byKey.get(key)?.at(-1).register;
  }

  /** All of them, oldest first. */
  *[Symbol.iterator]() {
    yield* this.#inFlight.values();
    yield* this.#unsent.values();
  }

  /** Puts a write in, and ends the one that it makes needless as superseded. */
  add(record, { isStored = false } = {}) {
    const write = makeWrite(record);
    if (!isStored) this.#store.put(record);
    const previous = this.#byKey.get(record.key)?.at(-1);
    this.#insert(write);
    if (previous && !previous.isSent) this.#collapse(previous, record.version);
    return write;
  }

  #insert(write) {
    this.#unsent.set(write.record.version, write);
    const writes = this.#byKey.get(write.record.key);
    if (writes === undefined) this.#byKey.set(write.record.key, [write]);
    else writes.push(write);
  }

  #collapse(write, successor) {
    this.#forget(write);
    write.resolve({ status: "superseded", applied: false, key: write.record.key, version: write.record.version, by: successor });
  }

  /** The next write to send; undefined if there is none. */
  take() {
    for (const write of this.#unsent.values()) {
      this.#unsent.delete(write.record.version);
      write.isSent = true;
      write.id = this.#nextID++;
      this.#inFlight.set(write.id, write);
      return write;
    }
    return undefined;
  }

  /** The write on its way under an id; undefined if there is none. */
  find(id) {
    return this.#inFlight.get(id);
  }

  /** Takes a write out that has its final answer. */
  finish(write) {
    this.#forget(write);
  }

  #forget(write) {
    this.#inFlight.delete(write.id);
    this.#unsent.delete(write.record.version);
    this.#store.remove(write.record.version);
    const writes = this.#byKey.get(write.record.key);
    const rest = writes.filter((other) => other !== write);
    if (rest.length === 0) this.#byKey.delete(write.record.key);
    else this.#byKey.set(write.record.key, rest);
  }

  /** Puts one write back that may be sent again. */
  putBack(write) {
    this.#requeue([write]);
  }

  /** The connection is gone: whatever was on its way may have to be sent again. */
  disconnected() {
    this.#requeue([...this.#inFlight.values()]);
  }

  #requeue(writes) {
    for (const write of writes) {
      this.#inFlight.delete(write.id);
      write.isSent = false;
    }
    const all = [...writes, ...this.#unsent.values()].sort((a, b) => compareText(a.record.version, b.record.version));
    this.#unsent = new Map(all.map((write) => [write.record.version, write]));
    for (const write of writes) {
      const newest = this.#byKey.get(write.record.key).at(-1);
      if (newest !== write) this.#collapse(write, newest.record.version);
    }
  }

  /** Stamps a write anew; nothing else of it changes. */
  restamp(write, version, expiresAt) {
    const old = write.record.version;
    this.#inFlight.delete(write.id);
    this.#unsent.delete(old);
    write.isSent = false;
    write.record = { ...write.record, version };
    write.register = Register.fromTexts({ ...write.record, expiresAt });
    // The new record first: a crash between the two leaves both, of which the newer one wins.
    this.#store.put(write.record);
    this.#store.remove(old);
    this.#unsent.set(version, write);
    const writes = this.#byKey.get(write.record.key);
    writes.sort((a, b) => compareText(a.record.version, b.record.version));
    for (const other of writes) if (other !== writes.at(-1) && !other.isSent) this.#collapse(other, writes.at(-1).record.version);
  }
}

function makeWrite(record) {
  const write = { record, register: Register.fromTexts({ ...record, expiresAt: expiry(record) }), isSent: false, id: undefined };
  write.outcome = new Promise((resolve, reject) => Object.assign(write, { resolve, reject }));
  // Whoever does not ask for the outcome is not to be stopped by it; it is logged.
  write.outcome.catch(() => {});
  return write;
}

/** When a write expires, as the server reckons: its stamp plus its time to live. */
export function expiry({ version, ttl }) {
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
