import { closeSync, ftruncateSync, openSync, readSync, writeSync } from "node:fs";
import { StarlingError } from "./errors.js";

/** Paths that this process has locked. */
const ours = new Set();

/**
 * A file that one process uses at a time: `<path>.lock` says which. Node has no locks of the system's, which the clients in other
 * languages have and write there as `flock <pid>`; here it is `pid <pid>`, good for as long as there is such a process.
 */
export class FileLock {
  #path;
  #file;

  /** @throws {StarlingError} `outbox_failed`: somebody else has it */
  constructor(path) {
    this.#path = `${path}.lock`;
    if (ours.has(this.#path)) throw this.#refusal("another client of this process");
    this.#file = open(this.#path);
    const holder = read(this.#file).match(/^(?:flock|pid) (\d+)$/)?.[1];
    if (holder !== undefined && Number(holder) !== process.pid && isAlive(Number(holder))) {
      closeSync(this.#file);
      throw this.#refusal(`process ${holder}; if that is no client of Starling, remove ${this.#path}`);
    }
    ours.add(this.#path);
    const text = `pid ${process.pid}`;
    ftruncateSync(this.#file, 0);
    writeSync(this.#file, text, 0);
    // Two that found it free at the same time: the one who wrote last has it.
    if (read(this.#file) !== text) {
      closeSync(this.#file);
      ours.delete(this.#path);
      throw this.#refusal("another process");
    }
  }

  #refusal(holder) {
    return new StarlingError("outbox_failed", `${this.#path.replace(/\.lock$/, "")} is in use by ${holder}`);
  }

  release() {
    ours.delete(this.#path);
    // Not removed: somebody may be waiting for just this file.
    ftruncateSync(this.#file, 0);
    closeSync(this.#file);
  }
}

function open(path) {
  try {
    return openSync(path, "wx+", 0o600);
  } catch (error) {
    if (error.code !== "EEXIST") throw new StarlingError("outbox_failed", `the outbox cannot be locked: ${error.message}`);
    return openSync(path, "r+");
  }
}

function read(file) {
  const buffer = Buffer.alloc(64);
  return buffer.toString("utf8", 0, readSync(file, buffer, 0, 64, 0)).trim();
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code !== "ESRCH";
  }
}
