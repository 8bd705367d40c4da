import { Register } from "./register.js";
import { compareText } from "./text.js";

/**
 * What a client holds of one pattern: the registers that the server confirmed, under the writes of its own that are still on their
 * way. What a reader sees of a key is the greater of the two, and a change is told once.
 *
 * An entry has `confirmed` (undefined where there is only a write on its way), the `generation` it was last seen in, what is `shown` to
 * readers, and what the subscriber was `told` last.
 */
export class Replica {
  #entries = new Map();
  #generation = 0;
  #replacing = false;
  /** Keys of tombstones: those since the last cursor, and those before it. */
  #young = [];
  #old = [];
  #pendingWrite;
  #changed;

  /**
   * @param {(key: string) => Register | undefined} pendingWrite the client's newest write to a key that is still on its way
   * @param {(key: string, register: Register | undefined, cause: string | undefined) => boolean} changed is told what is to be seen of
   *   a key now (undefined: nothing any more), and says whether it told the subscriber
   */
  constructor(pendingWrite, changed) {
    this.#pendingWrite = pendingWrite;
    this.#changed = changed;
  }

  /** The server begins to send. @param {boolean} replace whether what comes takes the place of what is held */
  begin(replace) {
    if (!replace) return;
    this.#replacing = true;
    this.#generation++;
  }

  /** Everything there was has been sent: what a replacing snapshot did not have is gone, however great its version. */
  synced() {
    if (!this.#replacing) return;
    this.#replacing = false;
    for (const [key, entry] of this.#entries) {
      if (entry.confirmed === undefined || entry.generation === this.#generation) continue;
      entry.confirmed = undefined;
      this.#show(key, entry, "resync");
    }
  }

  /** Takes a register from the server. */
  apply(register) {
    const { key } = register;
    let entry = this.#entries.get(key);
    if (entry === undefined) {
      entry = newEntry();
      this.#entries.set(key, entry);
    }
    const isCurrent = entry.confirmed !== undefined && entry.generation === this.#generation;
    entry.generation = this.#generation;
    // Of a key seen in this generation the merge rule decides; what was held before the snapshot that replaces it does not count.
    if (isCurrent && Register.compare(register, entry.confirmed) <= 0) return;
    entry.confirmed = register;
    if (register.deleted) this.#young.push(key);
    this.#show(key, entry, undefined);
  }

  /** A write of the client's to a key was made, answered or given up. */
  touch(key, cause) {
    let entry = this.#entries.get(key);
    if (entry === undefined) {
      if (this.#pendingWrite(key) === undefined) return;
      entry = newEntry();
      this.#entries.set(key, entry);
    }
    this.#show(key, entry, cause);
  }

  #show(key, entry, cause) {
    const visible = greater(entry.confirmed, this.#pendingWrite(key));
    const { told } = entry;
    entry.shown = visible;
    if (visible === undefined) {
      this.#entries.delete(key);
      if (told !== undefined && !told.deleted) this.#changed(key, undefined, cause);
    } else if (told !== undefined && Register.compare(visible, told) === 0) {
      entry.told = visible;
    } else if (this.#changed(key, visible, cause)) {
      entry.told = visible;
    }
  }

  /**
   * The server gave a cursor: nothing that came before the previous one can come again, so deletes that old need not be known. They
   * are kept until then, lest they are told twice after a resumption.
   */
  cursorPassed() {
    for (const key of this.#old) {
      const entry = this.#entries.get(key);
      if (entry?.confirmed?.deleted && this.#pendingWrite(key) === undefined) this.#entries.delete(key);
    }
    this.#old = this.#young;
    this.#young = [];
  }

  /** What is to be seen of a key: also a tombstone, and what has expired. */
  get(key) {
    return this.#entries.get(key)?.shown;
  }

  /** All there is to be seen, by key. */
  list(serverNow) {
    const registers = [];
    for (const { shown } of this.#entries.values()) if (shown?.isVisible(serverNow)) registers.push(shown);
    return registers.sort((a, b) => compareText(a.key, b.key));
  }
}

const newEntry = () => ({ confirmed: undefined, generation: 0, shown: undefined, told: undefined });

function greater(a, b) {
  if (a === undefined) return b;
  if (b === undefined) return a;
  return Register.compare(b, a) > 0 ? b : a;
}
