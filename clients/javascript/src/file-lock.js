import { closeSync, ftruncateSync, mkdirSync, openSync, readSync, rmdirSync, statSync, writeSync } from "node:fs";
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
    alone(`${this.#path}.guard`, () => this.#take());
    ours.add(this.#path);
  }

  /** To look who has it and to write that we do are two things: nobody else does them meanwhile. */
  #take() {
    this.#file = open(this.#path);
    try {
      const holder = read(this.#file).match(/^(?:flock|pid) (\d+)$/)?.[1];
      if (holder !== undefined && Number(holder) !== process.pid && isAlive(Number(holder))) {
        throw this.#refusal(`process ${holder}; if that is no client of Starling, remove ${this.#path}`);
      }
      ftruncateSync(this.#file, 0);
      writeSync(this.#file, `pid ${process.pid}`, 0);
    } catch (error) {
      closeSync(this.#file);
      throw error;
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

/** How long somebody may be alone, in milliseconds: who is for longer has died of it. */
const LONGEST_ALONE = 2_000;

/** Does something while no other process that asks for the same does: there is one directory of a name. */
function alone(guard, work) {
  const end = performance.now() + 3 * LONGEST_ALONE;
  while (!enter(guard)) {
    if (performance.now() > end) throw new StarlingError("outbox_failed", `${guard} does not go away; remove it`);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
  }
  try {
    work();
  } finally {
    rmdirSync(guard);
  }
}

/** @returns whether nobody else has it */
function enter(guard) {
  try {
    mkdirSync(guard);
    return true;
  } catch (error) {
    if (error.code !== "EEXIST") throw new StarlingError("outbox_failed", `the outbox cannot be locked: ${error.message}`);
  }
  const since = statSync(guard, { throwIfNoEntry: false })?.mtimeMs;
  if (since !== undefined && Date.now() - since > LONGEST_ALONE) {
    try {
      rmdirSync(guard);
    } catch {
      // Somebody else has done it.
    }
  }
  return false;
}
