import { Queue } from "./queue.js";

/** How many updates wait for a subscriber one by one. */
const BUFFER = 1024;

/**
 * What a subscriber has still to be told. Up to a thousand updates wait one by one; beyond that a newer update takes the place of the
 * one that waits for its key, so that however slow a subscriber is, what waits is bounded by the number of keys.
 */
export class Delivery {
  #waiting = new Queue();
  /** The newest that waits for each slot. */
  #latest = new Map();
  #callback;
  #failed;
  #isRunning = false;
  #isClosed = false;
  #waiters = [];
  #error;

  /**
   * @param {((update: object) => unknown) | undefined} callback the next update is held back until a promise that it returns is
   *   settled; undefined: updates are taken by `next`
   * @param {(error: unknown) => void} failed is told what the callback throws
   */
  constructor(callback, failed) {
    this.#callback = callback;
    this.#failed = failed;
  }

  /** Queues an update. @param {string} slot what it may be conflated with */
  push(slot, update) {
    if (this.#isClosed) return;
    const latest = this.#latest.get(slot);
    if (latest !== undefined && this.#waiting.length >= BUFFER) {
      latest.update = update;
    } else {
      const item = { slot, update };
      this.#latest.set(slot, item);
      this.#waiting.push(item);
    }
    if (!this.#callback) this.#waiters.shift()?.();
    else if (!this.#isRunning) {
      this.#isRunning = true;
      queueMicrotask(() => this.#run());
    }
  }

  /** The next update that waits; undefined if there is none. */
  take() {
    const item = this.#waiting.shift();
    if (item === undefined) return undefined;
    if (this.#latest.get(item.slot) === item) this.#latest.delete(item.slot);
    return item.update;
  }

  async #run() {
    // close() empties what waits, and so ends this loop: nothing is told after an unsubscribe.
    for (let update = this.take(); update !== undefined; update = this.take()) {
      try {
        const result = this.#callback(update);
        if (typeof result?.then === "function") await result;
      } catch (error) {
        this.#failed(error);
      }
    }
    this.#isRunning = false;
  }

  /** The next update; undefined at the end. @throws what the subscription failed with */
  async next() {
    while (true) {
      const update = this.take();
      if (update !== undefined) return update;
      if (this.#error) throw this.#error;
      if (this.#isClosed) return undefined;
      await new Promise((resolve) => this.#waiters.push(resolve));
    }
  }

  /** Ends it: what waits is dropped. @param {Error} [error] what `next` throws from now on */
  close(error) {
    this.#isClosed = true;
    this.#error = error;
    this.#waiting.clear();
    this.#latest.clear();
    for (const wake of this.#waiters.splice(0)) wake();
  }
}
