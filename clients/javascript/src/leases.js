import { StarlingError } from "./errors.js";

/** A third of a lease is left for renewals that fail at first. */
const RENEW_AFTER = 1 / 3;
const RETRY = 1_000;

/**
 * A claim that this client holds, renewed until it is released or lost.
 *
 * It is lost when the server says so, when its time has passed without a renewal, and, with `until: "disconnect"`, with the connection.
 * A process that was paused does not know that yet: writes that must not happen then carry `fence`.
 */
export class Lease {
  key;
  fence;
  expiresAt;
  isHeld = true;
  /** Settles with the reason when the claim is lost; with undefined when it is released. */
  ended;
  renewAt = Infinity;
  #engine;
  #options;
  #end;
  #forget;

  constructor(engine, { key, fence, expires_at: expiresAt }, options, forget) {
    this.#engine = engine;
    this.#forget = forget;
    this.#options = options;
    this.key = key;
    this.fence = fence;
    this.ended = new Promise((resolve) => (this.#end = resolve));
    this.#extended(expiresAt);
  }

  #extended(expiresAt) {
    this.expiresAt = expiresAt;
    const { ttl, renew } = this.#options;
    if (ttl !== undefined && renew !== false) this.renewAt = this.#engine.now() + ttl * 1000 * RENEW_AFTER;
    this.#engine.wake();
  }

  /** Renews it, and can change its value. @throws {StarlingError} `held`, `stale_fence`: it is lost; `offline` */
  async renew({ value, metadata, ttl = this.#options.ttl } = {}) {
    const answer = await this.#engine.request({
      type: "renew",
      key: this.key,
      fence: this.fence,
      ...(ttl !== undefined && { ttl }),
      ...(value !== undefined && { value }),
      ...(metadata !== undefined && { metadata }),
    });
    if (answer.type === "refused") {
      this.lose(answer.code);
      throw refusal(answer);
    }
    this.#extended(answer.expires_at);
  }

  /** Gives it up. Safe to repeat. @throws {StarlingError} `offline`, `outcome_unknown` */
  async release() {
    this.renewAt = Infinity;
    const answer = await this.#engine.request({ type: "release", key: this.key, fence: this.fence });
    if (answer.type === "refused") throw refusal(answer);
    this.#finish(undefined);
  }

  /** @internal Renews when it is time, and notices when it was too late. */
  tick(now) {
    if (!this.isHeld) return;
    if (this.#options.until !== "disconnect" && this.#engine.serverNow() >= this.expiresAt) return this.lose("expired");
    if (now < this.renewAt) return;
    this.renewAt = now + RETRY;
    if (this.#engine.isGreeted) this.renew().catch((error) => this.#engine.log("warn", `claim ${this.key}: ${error.message}`));
  }

  /** @internal When tick is to be called. */
  deadline(now) {
    const left = this.#options.until === "disconnect" ? Infinity : this.expiresAt - this.#engine.serverNow();
    return Math.min(this.renewAt, now + Math.max(0, left));
  }

  /** @internal */
  disconnected() {
    if (this.#options.until === "disconnect") this.lose("disconnected");
  }

  /** @internal */
  lose(reason) {
    if (!this.isHeld) return;
    this.#engine.log("warn", `the claim ${this.key} is lost: ${reason}`);
    this.#finish(reason);
  }

  #finish(reason) {
    this.isHeld = false;
    this.renewAt = Infinity;
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
