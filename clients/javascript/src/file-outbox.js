import {
  closeSync, constants, existsSync, fstatSync, fsyncSync, ftruncateSync, openSync, readFileSync, realpathSync, renameSync, statSync, unlinkSync, writeSync,
} from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { checkBoolean, checkOptions } from "./check.js";
import { StarlingError } from "./errors.js";
import { FileLock } from "./file-lock.js";

const { O_APPEND, O_CREAT, O_TRUNC, O_WRONLY } = constants;

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
  /** How long the file is, as far as we have written it. */
  #size = 0;
  #fsync;
  #records = new Map();
  #lines = 0;
  #lock;
  /** Whether what it holds outlasts the process. */
  isDurable = true;

  /** @param {string} path @param {{fsync?: boolean}} [options] */
  constructor(path, options) {
    const { fsync } = checkOptions("FileOutbox", options, new Set(["fsync"]));
    checkBoolean("fsync", fsync);
    this.#path = wholePath(path);
    this.#fsync = fsync ?? false;
  }

  load() {
    // Before anything else: what fails below closes the outbox, and this one is in use.
    if (this.#lock !== undefined) throw new StarlingError("outbox_failed", `this outbox (${this.#path}) is in use by another client; each has its own`);
    this.#checkKind();
    try {
      this.#lock = new FileLock(this.#path);
      this.#open();
    } catch (error) {
      this.close();
      throw error instanceof StarlingError ? error : new StarlingError("outbox_failed", `the outbox ${this.#path} cannot be used: ${error.message}`);
    }
    return [...this.#records.values()];
  }

  #checkKind() {
    const status = statSync(this.#path, { throwIfNoEntry: false });
    if (status === undefined) return;
    if (!status.isFile()) throw new StarlingError("outbox_failed", `${this.#path} is no file that an outbox could be kept in`);
    if (status.nlink > 1) {
      const text = `${this.#path} has ${status.nlink} names (hard links), and the lock goes by the name: remove the others`;
      throw new StarlingError("outbox_failed", text);
    }
  }

  /** Takes over what is there, and leaves a file to append to. */
  #open() {
    this.#records.clear();
    this.#lines = 0;
    const isWhole = existsSync(this.#path) && this.#replay(readFileSync(this.#path));
    try {
      this.#compact();
    } catch (error) {
      // A full disk: what is there is good, and grows no longer by what is done.
      if (!isWhole) throw error;
      this.#file = openSync(this.#path, "a");
      this.#size = fstatSync(this.#file).size;
    }
  }

  /**
   * Takes over what is in the file. Nothing of it is changed before all of it is known to be ours.
   *
   * @returns whether more can be appended to it as it is
   */
  #replay(bytes) {
    const lines = new TextDecoder().decode(bytes).split("\n");
    let isWhole = lines.at(-1) === "";
    lines.forEach((line, index) => {
      if (line.trim() === "") return;
      try {
        this.#take(JSON.parse(line), index);
        this.#lines++;
      } catch (error) {
        if (error instanceof StarlingError) throw error;
        // The last line of a process that was killed in the middle of it; there is one before it.
        if (index !== lines.length - 1 || index === 0) {
          throw new StarlingError("outbox_failed", `line ${index + 1} of ${this.#path} is none of an outbox; nothing was changed`);
        }
        isWhole = false;
      }
    });
    return isWhole && this.#lines > 0;
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
    const lines = [HEADER, ...[...this.#records.values()].map((record) => ({ put: record }))];
    const content = Buffer.from(lines.map((line) => JSON.stringify(line) + "\n").join(""));
    const file = openSync(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0o600);
    try {
      write(file, content);
      fsyncSync(file);
      renameSync(temporary, this.#path);
    } catch (error) {
      closeSync(file);
      quietly(() => unlinkSync(temporary));
      throw error;
    }
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = file;
    this.#size = content.length;
    this.#lines = this.#records.size;
  }

  #append(entry) {
    this.#checkFile();
    const content = Buffer.from(JSON.stringify(entry) + "\n");
    try {
      write(this.#file, content);
      if (this.#fsync) fsyncSync(this.#file);
    } catch (error) {
      // Half a line would spoil the next one, and a whole one would be sent though the write failed.
      quietly(() => ftruncateSync(this.#file, this.#size));
      throw error;
    }
    this.#size += content.length;
    this.#lines++;
  }

  /** On a full disk the old file goes on. */
  #compactAtTimes() {
    if (this.#lines > 1000 && this.#lines > 4 * this.#records.size) quietly(() => this.#compact());
  }

  /** What is written into a file that nobody finds any more, or that was cut off, is lost. @throws {StarlingError} `outbox_failed` */
  #checkFile() {
    if (this.#file === undefined) throw new StarlingError("outbox_failed", `the outbox ${this.#path} is closed`);
    const there = statSync(this.#path, { throwIfNoEntry: false });
    const ours = fstatSync(this.#file);
    if (there?.ino === ours.ino && there.dev === ours.dev && there.size === this.#size) return;
    throw new StarlingError("outbox_failed", `${this.#path} was removed, replaced or changed by somebody else: it keeps nothing more`);
  }

  put(record) {
    this.#append({ put: record });
    this.#records.set(record.version, record);
    this.#compactAtTimes();
  }

  remove(version) {
    if (!this.#records.delete(version)) return;
    this.#append({ done: version });
    this.#compactAtTimes();
  }

  close() {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
    this.#lock?.release();
    this.#lock = undefined;
  }
}

/** Writes all of it, from the end of what was written before. */
function write(file, content) {
  for (let done = 0; done < content.length; ) done += writeSync(file, content, done);
}

/** Does what may fail without harm. */
function quietly(work) {
  try {
    work();
  } catch {
    // A full disk, for example.
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
