import { Clock, formatVersion, parseVersion } from "./clock.js";
import { StarlingError } from "./errors.js";
import { Outbox } from "./outbox.js";
import { Register } from "./register.js";
import { rawField } from "./text.js";

const WINDOW = 256;
const LONGEST_PAUSE = 5_000;
/** Refusals after which the same write may succeed. */
const PASSING = new Set(["overloaded", "storage_failed", "outcome_unknown", "rate_limited"]);

/**
 * The client's own writes: stamps them, keeps them until they are answered, sends them as the connection allows, and says what became
 * of each.
 */
export class Writer {
  clock = new Clock();
  outbox;
  #engine;
  #limit;
  #onRefused;
  #pauses = 0;
  /** When writes may be sent again, after the server asked for a pause. */
  pausedUntil = 0;

  constructor(engine, { outbox, outboxLimit, onRefused }) {
    this.#engine = engine;
    this.outbox = new Outbox(outbox);
    this.#limit = outboxLimit;
    this.#onRefused = onRefused;
  }

  /** Takes over what an earlier run left. */
  restore(records) {
    for (const record of [...records].sort((a, b) => (a.version < b.version ? -1 : 1))) {
      const { milliseconds, counter } = parseVersion(record.version);
      this.clock.receive(milliseconds, counter);
      this.outbox.add(record, { isStored: true });
    }
  }

  #stamp() {
    const stamp = this.clock.tick(this.#engine.serverNow());
    return formatVersion(stamp, this.#engine.agent);
  }

  /** Makes a write: seen by this client's subscribers at once. @returns a promise of what became of it */
  write({ key, value, ttl, metadata, session }) {
    if (this.outbox.size >= this.#limit) {
      return Promise.reject(
        new StarlingError("outbox_full", `${this.outbox.size} writes wait for the server; the limit is ${this.#limit} (outboxLimit)`),
      );
    }
    const record = { key, version: this.#stamp(), value, ttl, metadata, session };
    const write = this.outbox.add(record);
    this.#engine.touch(key);
    this.flush();
    return write.outcome;
  }

  /** Sends what may be sent now. */
  flush() {
    if (!this.#engine.isGreeted || this.#engine.now() < this.pausedUntil) return;
    while (this.outbox.inFlight < WINDOW) {
      const write = this.outbox.take();
      if (write === undefined) return;
      this.#engine.send(frame(write));
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
    this.outbox.finish(write);
  }

  #applied(write, { version, revision, durable }) {
    const { register } = write;
    this.#finish(write);
    register.revision = revision;
    // It is in the database now, and the replica need not wait for the echo.
    this.#engine.confirm(register);
    write.resolve({ status: "applied", applied: true, key: register.key, version, revision, durable });
  }

  #superseded(write, { version, winner }, text) {
    const { key } = write.record;
    this.#finish(write);
    if (winner && !winner.value_omitted) this.#engine.confirm(Register.fromWire(winner, rawField(text, "winner"), key));
    else this.#engine.touch(key);
    write.resolve({ status: "superseded", applied: false, key, version, winner });
  }

  #refused(write, message) {
    if (PASSING.has(message.code)) {
      this.pausedUntil = this.#engine.now() + (message.retry_after_ms ?? 0) + this.#pause();
      this.outbox.putBack(write);
      return;
    }
    const error = new StarlingError(message.code, message.message, message);
    const choice = this.#onRefused(
      { key: write.record.key, value: write.register.value, deleted: write.register.deleted, version: write.record.version },
      error,
    );
    if (message.code === "drift" && message.server_time !== undefined) this.#engine.adjustClock(message.server_time);
    if (choice === "restamp" && (message.code === "drift" || message.code === "stale_version")) this.#restamp(write);
    else this.#giveUp(write, error);
  }

  #pause() {
    return this.#engine.random() * Math.min(LONGEST_PAUSE, 100 * 2 ** Math.min(this.#pauses++, 10));
  }

  #restamp(write) {
    this.outbox.restamp(write, this.#stamp());
    this.#engine.touch(write.record.key);
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

  /**
   * What was written before the server said which agent we are, and was never sent, gets the right name. It is not known to anyone
   * else yet.
   */
  renamed(from, to) {
    for (const write of [...this.outbox]) {
      if (parseVersion(write.record.version).agent !== from) continue;
      this.outbox.restamp(write, formatVersion(parseVersion(write.record.version), to));
      this.#engine.touch(write.record.key);
    }
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
