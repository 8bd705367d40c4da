import { checkOptions, toJSON } from "./check.js";
import { StarlingError } from "./errors.js";
import { inTurn } from "./patience.js";

/** Two thirds of a lease are left for renewals that fail at first. */
const RENEW_AFTER = 1 / 3;
const RETRY = 1_000;
const RENEW_OPTIONS = new Set(["value", "metadata", "ttl"]);

/**
 * A claim that this client holds, renewed until it is released or lost.
 *
 * It is lost when the server says so, when its time has passed without a renewal, and, with `until: "disconnect"`, with the connection.
 * A process that was paused between looking at `isHeld` and acting does not know it: writes that must not happen then carry `fence`.
 */
export class Lease {
  key;
  fence;
  /** When the server ends it without a renewal, by the server's clock. */
  expiresAt;
  /** Settles with the reason when the claim is lost; with undefined when it is given up. */
  ended;
  #engine;
  #options;
  #end;
  #forget;
  #isOver = false;
  /** Whether the server has said that it is given up: by now it may be another's. */
  #isReleased = false;
  #renewAt = Infinity;
  /** When it has certainly ended, by a clock that nobody sets: its time, counted from when it was asked for. */
  #validUntil = Infinity;

  /** @internal @param {number} askedAt when the claim was asked for */
  constructor(engine, { key, fence, expires_at: expiresAt }, options, askedAt, forget) {
    this.#engine = engine;
    this.#options = options;
    this.#forget = forget;
    this.key = key;
    this.fence = fence;
    this.ended = new Promise((resolve) => (this.#end = resolve));
    this.#extended(expiresAt, options.ttl, askedAt);
  }

  /** Whether it is in force, as far as can be known here. */
  get isHeld() {
    if (this.#isOver) return false;
    const { ttl } = this.#options;
    const isInTime = this.#engine.now() < this.#validUntil && (ttl === undefined || this.#engine.serverNow() < this.expiresAt);
    return isInTime;
  }

  #extended(expiresAt, ttl, askedAt) {
    if (this.#isOver) return;
    this.expiresAt = expiresAt;
    if (ttl === undefined) return;
    this.#options = { ...this.#options, ttl };
    this.#validUntil = askedAt + ttl * 1000;
    if (this.#options.renew !== false) this.#renewAt = askedAt + ttl * 1000 * RENEW_AFTER;
    this.#engine.wake();
  }

  /** Renews it, and can change its value. @throws {StarlingError} `held`, `stale_fence`: it is lost; `offline` */
  async renew(options) {
    const { value, metadata, ttl = this.#options.ttl } = checkOptions("renew", options, RENEW_OPTIONS);
    if (value !== undefined) toJSON(value, `the value of ${this.key}`);
    if (metadata !== undefined) toJSON(metadata, "metadata");
    const askedAt = this.#engine.now();
    const renewed = this.#engine.request({ type: "renew", key: this.key, fence: this.fence, ttl, value, metadata }, (answer) => {
      if (answer.type === "refused") {
        this.lose(answer.code);
        throw refusal(answer);
      }
      this.#extended(answer.expires_at, ttl, askedAt);
    });
    return inTurn(renewed);
  }

  /**
   * Gives it up: from now on it is not held here. Safe to repeat.
   *
   * @throws {StarlingError} `offline`, `outcome_unknown`: the server may keep it until its time is over
   */
  release() {
    if (this.#isReleased) return Promise.resolve();
    this.#finish(undefined);
    const released = this.#engine.request({ type: "release", key: this.key, fence: this.fence }, (answer) => {
      if (answer.type === "refused") throw refusal(answer);
      this.#isReleased = true;
    });
    return inTurn(released);
  }

  /** @internal It was given up by a batch. */
  released() {
    this.#isReleased = true;
    this.#finish(undefined);
  }

  /** @internal Renews when it is time, and notices when it was too late. */
  tick(now) {
    if (!this.isHeld) return this.lose("expired");
    if (now < this.#renewAt) return;
    this.#renewAt = now + RETRY;
    if (this.#engine.isGreeted) this.renew().catch((error) => this.#engine.log("warn", `claim ${this.key}: ${error.message}`));
  }

  /** @internal When tick is to be called. */
  deadline() {
    return Math.min(this.#renewAt, this.#validUntil);
  }

  /** @internal */
  get endsWithConnection() {
    return this.#options.until === "disconnect";
  }

  /** @internal */
  lose(reason) {
    if (this.#isOver) return;
    this.#engine.log("warn", `the claim ${this.key} is lost: ${reason}`);
    this.#finish(reason);
  }

  #finish(reason) {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#renewAt = Infinity;
    this.#forget();
    this.#end(reason);
  }
}

/** The error for an answer of `refused`. */
export function refusal({ key, code, holder, expires_at: expiresAt }) {
  const words = {
    held: `${key} is held by ${holder ?? "another agent"}`,
    exists: `${key} has a value that no claim made`,
    stale_fence: `the claim of ${key} is not in force any more`,
  };
  return new StarlingError(code, words[code] ?? `${key}: ${code}`, { key, holder, expiresAt });
}
