import { agentOf, formatVersion, parseVersion, stampOf } from "./clock.js";
import { MAXIMUM_DEPTH, checkDepth, checkTimeToLive } from "./check.js";
import { StarlingError } from "./errors.js";
import { Outbox } from "./outbox.js";
import { Register } from "./register.js";
import { rawField } from "./text.js";

const WINDOW = 256;
const LONGEST_PAUSE = 5_000;
/** By how much a clock may be wrong before what was stamped by it is stamped anew. */
const TOLERANCE = 1_000;
/** Refusals after which the same write may succeed. */
const PASSING = new Set(["overloaded", "storage_failed", "outcome_unknown", "rate_limited"]);

/** What becomes of a refused write where the user does not say. */
export const chooseByDefault = (error) => (error.code === "drift" ? "restamp" : "drop");

/**
 * The client's own writes: stamps them, keeps them until they are answered, sends them as the connection allows, and says what became
 * of each.
 */
export class Writer {
  outbox;
  clock;
  #engine;
  #options;
  /** Pauses in a row that the server asked for. */
  #pauses = 0;
  /** How many writes may be on their way: less after a refusal, one more after each success. */
  #window = WINDOW;
  /** When writes may be sent again, after the server asked for a pause; 0: now. */
  pausedUntil = 0;

  constructor(engine, options) {
    this.#engine = engine;
    this.#options = options;
    this.clock = engine.knowledge.clock;
    this.outbox = new Outbox(options.outbox, (error) => engine.log("error", `the outbox cannot be written: ${error.message}`));
  }

  /** Takes over what an earlier run left. */
  restore(records) {
    const inOrder = (a, b) => (a.sequence ?? 0) - (b.sequence ?? 0) || (a.version < b.version ? -1 : 1);
    for (const record of [...records].sort(inOrder)) {
      try {
        const { milliseconds, counter } = parseVersion(record.version);
        this.clock.raise(milliseconds, counter);
        this.outbox.add(record, { isStored: true });
      } catch (error) {
        this.#engine.log("error", `the outbox holds a write that is none: ${error.message}`);
      }
    }
  }

  #stamp() {
    return formatVersion(this.clock.tick(this.#engine.serverNow()), this.#engine.agent);
  }

  /** Makes a write: seen by this client's subscribers at once. @returns a promise of what became of it */
  write({ key, value, ttl, metadata, session = this.#options.session }) {
    const problem = this.#problem(value, ttl, metadata);
    if (problem) return Promise.reject(problem);
    const record = { key, version: this.#stamp(), value, ttl: ttl ?? undefined, metadata, session };
    let write;
    try {
      write = this.outbox.add(record);
    } catch (error) {
      return Promise.reject(new StarlingError("outbox_failed", `the outbox cannot keep the write to ${key}: ${error.message}`));
    }
    this.#engine.touch(key);
    this.flush();
    return write.outcome;
  }

  /** What speaks against a write before anything is done. */
  #problem(value, ttl, metadata) {
    const { outboxLimit } = this.#options;
    if (this.outbox.size >= outboxLimit) {
      return new StarlingError("outbox_full", `${this.outbox.size} writes wait for the server; the limit is ${outboxLimit} (outboxLimit)`);
    }
    // The message around them is a level too.
    return checkTimeToLive(ttl) ?? checkDepth("value", value, MAXIMUM_DEPTH - 1) ?? checkDepth("metadata", metadata, MAXIMUM_DEPTH - 1);
  }

  /** Sends what may be sent now: writes in their order, and questions behind the writes that were made before them. */
  flush() {
    if (!this.#engine.isGreeted) return;
    this.#engine.sendQuestions(this.outbox.nextSequence());
    if (this.#engine.now() < this.pausedUntil) return;
    this.pausedUntil = 0;
    while (this.outbox.inFlight < this.#window) {
      const write = this.outbox.take();
      if (write === undefined) return;
      const text = frame(write);
      const problem = this.#engine.tooLarge(text, write.record.key);
      if (problem) this.#giveUp(write, problem);
      else this.#engine.send(text, write.id);
      if (this.#engine.hasQuestions) this.#engine.sendQuestions(this.outbox.nextSequence());
    }
  }

  /** The answer to a write. @returns whether the id is one of ours */
  answer(id, message, text) {
    const write = this.outbox.find(id);
    if (write === undefined) return false;
    if (message.type === "error") this.#refused(write, message);
    else if (message.applied) this.#applied(write, message);
    else this.#superseded(write, message, text);
    this.flush();
    return true;
  }

  #finish(write) {
    this.#pauses = 0;
    this.#window = Math.min(WINDOW, this.#window + 1);
    this.outbox.finish(write);
  }

  #applied(write, { version, revision, durable, expires_at: expiresAt }) {
    const { register } = write;
    this.#finish(write);
    register.revision = revision;
    // It is in the database now, and the replica need not wait for the echo.
    this.#engine.confirm(register);
    write.resolve({ status: "applied", applied: true, key: register.key, version, revision, durable, expiresAt });
  }

  #superseded(write, { version, winner }, text) {
    const { key } = write.record;
    this.#finish(write);
    if (winner && !winner.value_omitted) this.#engine.confirm(Register.fromWire(winner, rawField(text, "winner"), key));
    this.#engine.touch(key);
    write.resolve({ status: "superseded", applied: false, key, version, winner });
  }

  #refused(write, message) {
    if (PASSING.has(message.code)) return this.#passingly(write, message);
    const error = new StarlingError(message.code, message.message, message);
    // A name that is not ours is that of an earlier run, before the server said which one we have.
    const isMisnamed = message.code === "forbidden" && agentOf(write.record.version) !== this.#engine.agent;
    const choice = isMisnamed ? "restamp" : this.#choice(write, error);
    if (message.code === "drift" && message.server_time !== undefined) this.#engine.knowledge.correct(message.server_time);
    if (choice === "restamp" && (isMisnamed || message.code === "drift" || message.code === "stale_version")) {
      this.outbox.restamp(write, this.#stamp());
      this.#engine.touch(write.record.key);
    } else {
      this.#giveUp(write, error);
    }
  }

  #choice(write, error) {
    const { key, version } = write.record;
    let choice;
    try {
      choice = this.#options.onRefused({ key, version, value: write.register.value, deleted: write.register.deleted }, error);
    } catch (problem) {
      this.#engine.log("error", `onRefused threw: ${problem?.stack ?? problem}`);
      return "drop";
    }
    if (choice === "restamp" || choice === "drop") return choice;
    // A promise is none either: what is behind the write does not wait for it.
    const standard = chooseByDefault(error);
    this.#engine.log("error", `onRefused returned ${choice} for ${key}; it returns "restamp" or "drop"; "${standard}" is what is done`);
    return standard;
  }

  /** The server will take it later. */
  #passingly(write, message) {
    const now = this.#engine.now();
    if (now >= this.pausedUntil) {
      // What is refused together is one refusal.
      this.#window = Math.max(1, this.#window >> 1);
      const longest = Math.min(LONGEST_PAUSE, 100 * 2 ** Math.min(this.#pauses++, 10));
      this.pausedUntil = now + this.#engine.random() * longest;
    }
    this.pausedUntil = Math.max(this.pausedUntil, now + (message.retry_after_ms ?? 0));
    this.outbox.putBack(write);
  }

  #giveUp(write, error) {
    this.#finish(write);
    this.#engine.log("warn", `the write to ${write.record.key} was refused: ${error.message}`);
    this.#engine.touch(write.record.key, "refused");
    write.reject(error);
  }

  disconnected() {
    this.outbox.disconnected();
    this.pausedUntil = 0;
  }

  /** The server says which agent we are: no write of another one would be taken. */
  renamed() {
    for (const write of [...this.outbox]) {
      const { version } = write.record;
      if (agentOf(version) !== this.#engine.agent) this.#restampAs(write, stampOf(version));
    }
  }

  /**
   * The first server says that our clock, by which the writes so far were stamped, is wrong by so many milliseconds. None of them
   * has been sent: they get the stamps that they would have got by a right clock.
   */
  corrected(offset) {
    if (Math.abs(offset) < TOLERANCE) return;
    const writes = [...this.outbox].filter((write) => write.isOfThisRun);
    this.clock.reset();
    for (const write of writes) {
      const { milliseconds } = stampOf(write.record.version);
      this.#restampAs(write, this.clock.tick(milliseconds + offset));
    }
  }

  #restampAs(write, stamp) {
    this.outbox.restamp(write, formatVersion(stamp, this.#engine.agent));
    this.#engine.touch(write.record.key);
  }

  close() {
    this.outbox.close(new StarlingError("closed", "the client was closed; what a durable outbox holds is sent by the next one"));
  }
}

/** The message for a write, around the texts of JSON that the outbox holds. */
function frame({ id, record: { key, version, value, ttl, metadata, session } }) {
  const type = value === undefined ? "delete" : "broadcast";
  let text = `{"type":"${type}","id":${id},"key":${JSON.stringify(key)},"version":${JSON.stringify(version)}`;
  if (value !== undefined) text += `,"value":${value}`;
  if (ttl !== undefined) text += `,"ttl":${ttl}`;
  if (metadata !== undefined) text += `,"metadata":${metadata}`;
  if (session !== undefined) text += `,"session":${JSON.stringify(session)}`;
  return text + "}";
}
