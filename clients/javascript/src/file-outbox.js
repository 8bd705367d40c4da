import { closeSync, existsSync, fsyncSync, openSync, readFileSync, realpathSync, renameSync, writeSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { StarlingError } from "./errors.js";
import { FileLock } from "./file-lock.js";

/** What the file begins with. */
const HEADER = { starling: "outbox", format: 1 };

/**
 * An outbox in a file: a line that says so, then a line of JSON for each write (`{"put":…}`) and for each final answer
 * (`{"done":<version>}`). A write is in the file before `broadcast` returns, so that it survives the process; with `fsync`, the machine
 * too. One client at a time: `<path>.lock` sees to that.
 *
 * What it throws, where the file is none of its own, is in use or cannot be written, is `outbox_failed`.
 */
export class FileOutbox {
  #path;
  #file;
  #fsync;
  #records = new Map();
  #lines = 0;
  #lock;
  /** Whether what it holds outlasts the process. */
  isDurable = true;

  /** @param {string} path @param {{fsync?: boolean}} [options] */
  constructor(path, { fsync = false } = {}) {
    this.#path = wholePath(path);
    this.#fsync = fsync;
  }

  load() {
    this.#lock = new FileLock(this.#path);
    try {
      if (existsSync(this.#path)) this.#replay(readFileSync(this.#path));
      this.#compact();
    } catch (error) {
      this.close();
      throw error instanceof StarlingError ? error : new StarlingError("outbox_failed", `the outbox ${this.#path} cannot be used: ${error.message}`);
    }
    return [...this.#records.values()];
  }

  /** Takes over what is in the file. Nothing of it is changed before all of it is known to be ours. */
  #replay(bytes) {
    const lines = new TextDecoder().decode(bytes).split("\n");
    lines.forEach((line, index) => {
      if (line.trim() === "") return;
      try {
        this.#take(JSON.parse(line), index);
      } catch (error) {
        if (error instanceof StarlingError) throw error;
        // The last line of a process that was killed in the middle of it; there is one before it.
        if (index === lines.length - 1 && index > 0) return;
        throw new StarlingError("outbox_failed", `line ${index + 1} of ${this.#path} is none of an outbox; nothing was changed`);
      }
    });
  }

  #take(entry, index) {
    if (entry.put?.version) this.#records.set(entry.put.version, entry.put);
    else if (typeof entry.done === "string") this.#records.delete(entry.done);
    else if (index !== 0 || entry.starling !== HEADER.starling) throw new Error("none of ours");
    else if (entry.format !== HEADER.format) throw new StarlingError("outbox_failed", `${this.#path} is of another version of this client`);
  }

  /** Begins a new file with what still waits; the old one stays until the new one is whole. */
  #compact() {
    const temporary = `${this.#path}.new`;
    const file = openSync(temporary, "w", 0o600);
    const lines = [HEADER, ...[...this.#records.values()].map((record) => ({ put: record }))];
    writeSync(file, lines.map((line) => JSON.stringify(line) + "\n").join(""));
    fsyncSync(file);
    renameSync(temporary, this.#path);
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = file;
    this.#lines = this.#records.size;
  }

  #append(entry) {
    writeSync(this.#file, JSON.stringify(entry) + "\n");
    if (this.#fsync) fsyncSync(this.#file);
    this.#lines++;
    if (this.#lines > 1000 && this.#lines > 4 * this.#records.size) this.#compact();
  }

  put(record) {
    if (this.#file === undefined) throw new StarlingError("outbox_failed", `the outbox ${this.#path} is closed`);
    this.#append({ put: record });
    this.#records.set(record.version, record);
  }

  remove(version) {
    if (this.#records.delete(version)) this.#append({ done: version });
  }

  close() {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
    this.#lock?.release();
    this.#lock = undefined;
  }
}

/** The one path of a file, there or not yet: the lock goes by it. */
function wholePath(path) {
  if (typeof path !== "string" || path === "") throw new StarlingError("bad_option", `the path of an outbox is ${path}; it is a text`);
  if (existsSync(path)) return realpathSync(path);
  const whole = resolve(path);
  const folder = dirname(whole);
  return existsSync(folder) ? join(realpathSync(folder), basename(whole)) : whole;
}
