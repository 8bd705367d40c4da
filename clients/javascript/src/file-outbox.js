import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from "node:fs";

/**
 * An outbox in a file: a line of JSON for each write (`{"put":…}`) and for each final answer (`{"done":<version>}`). A write is in the
 * file before `broadcast` returns, so that it survives the process; with `fsync`, the machine too. One client at a time.
 */
export class FileOutbox {
  #path;
  #file;
  #fsync;
  #records = new Map();
  #lines = 0;

  /** @param {string} path @param {{fsync?: boolean}} [options] */
  constructor(path, { fsync = false } = {}) {
    this.#path = path;
    this.#fsync = fsync;
  }

  load() {
    if (existsSync(this.#path)) {
      for (const line of readFileSync(this.#path, "utf8").split("\n")) this.#replay(line);
    }
    this.#compact();
    return [...this.#records.values()];
  }

  #replay(line) {
    if (line === "") return;
    let entry;
    try {
      entry = JSON.parse(line);
    } catch {
      // The last line of a process that was killed in the middle of it.
      return;
    }
    if (entry.put) this.#records.set(entry.put.version, entry.put);
    else this.#records.delete(entry.done);
  }

  /** Begins a new file with what still waits; the old one stays until the new one is whole. */
  #compact() {
    const temporary = `${this.#path}.new`;
    const file = openSync(temporary, "w", 0o600);
    for (const record of this.#records.values()) writeSync(file, JSON.stringify({ put: record }) + "\n");
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
    this.#records.set(record.version, record);
    this.#append({ put: record });
  }

  remove(version) {
    if (this.#records.delete(version)) this.#append({ done: version });
  }

  close() {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }
}
