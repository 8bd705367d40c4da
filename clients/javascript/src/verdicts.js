/**
 * Why to try again cannot help, until somebody changes something, for each server that said so. As long as there is one that did not,
 * it may be the one that works, and nobody is told.
 */
export class Verdicts {
  #count;
  #standing = new Map();
  #waiters = new Set();

  /** @param {number} count of servers */
  constructor(count) {
    this.#count = count;
  }

  /** Whether there is none left to hope for. */
  get areFinal() {
    return this.#standing.size === this.#count;
  }

  /** Takes note of one. @returns whether there is none left to hope for; then whoever waits was told */
  add(url, error) {
    this.#standing.set(url, error);
    if (!this.areFinal) return false;
    for (const reject of [...this.#waiters]) reject(error);
    return true;
  }

  has(url) {
    return this.#standing.has(url);
  }

  /** Something else came of a server. */
  remove(url) {
    this.#standing.delete(url);
  }

  clear() {
    this.#standing.clear();
  }

  /** Calls back with the last of them. @returns a function that ends it */
  wait(reject) {
    this.#waiters.add(reject);
    return () => this.#waiters.delete(reject);
  }
}
