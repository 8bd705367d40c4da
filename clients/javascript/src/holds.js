import { Lease, refusal } from "./leases.js";

const RETRY = 2_000;

/** What a client holds up on the server for as long as it lives: claims and presence. */
export class Holds {
  #engine;
  #leases = new Set();
  #presences = new Map();

  constructor(engine) {
    this.#engine = engine;
  }

  claim(message, options, timeout) {
    const askedAt = this.#engine.now();
    return this.#engine.request(message, (answer) => {
      if (answer.type === "refused") throw refusal(answer);
      const lease = new Lease(this.#engine, answer, options, askedAt, () => this.#leases.delete(lease));
      this.#leases.add(lease);
      this.#engine.wake();
      return lease;
    }, timeout);
  }

  /** A batch was answered: claims that it gave up are not held any more. @returns the answer */
  batched({ writes }, answer) {
    if (!answer.applied) return answer;
    const released = new Map(writes.filter(({ release }) => release !== undefined).map(({ key, release }) => [key, release]));
    for (const lease of [...this.#leases]) if (released.get(lease.key) === lease.fence) lease.released();
    return answer;
  }

  /** Gives up what is held. */
  async releaseAll() {
    const held = [...this.#leases].filter((lease) => lease.isHeld);
    for (const { reason } of await Promise.allSettled(held.map((lease) => lease.release()))) {
      if (reason) this.#engine.log("info", `a claim could not be released: ${reason.message}`);
    }
  }

  /** Whether something would be lost with the connection. */
  get needConnection() {
    for (const lease of this.#leases) if (lease.endsWithConnection) return true;
    return false;
  }

  /** Keeps a register up for as long as there is a connection, and again on the next one. */
  present(key, value, metadata) {
    const presence = { key, value, metadata, announceAt: Infinity };
    this.#presences.set(key, presence);
    if (this.#engine.isGreeted) this.#announce(presence);
  }

  #announce(presence) {
    const { key, value, metadata } = presence;
    presence.announceAt = Infinity;
    this.#engine.request({ type: "broadcast", key, value, metadata, until: "disconnect" }).catch((error) => {
      this.#engine.log("warn", `presence ${key}: ${error.message}`);
      if (!error.details.retry) return;
      presence.announceAt = this.#engine.now() + (error.details.retry_after_ms ?? 0) + RETRY * this.#engine.random();
      this.#engine.wake();
    });
  }

  async absent(key) {
    if (!this.#presences.delete(key) || !this.#engine.isGreeted) return;
    await this.#engine.request({ type: "delete", key });
  }

  greeted() {
    for (const presence of this.#presences.values()) this.#announce(presence);
    this.tick(this.#engine.now());
  }

  deadline() {
    let earliest = Infinity;
    for (const lease of this.#leases) earliest = Math.min(earliest, lease.deadline());
    if (this.#engine.isGreeted) for (const { announceAt } of this.#presences.values()) earliest = Math.min(earliest, announceAt);
    return earliest;
  }

  tick(now) {
    for (const lease of [...this.#leases]) lease.tick(now);
    if (!this.#engine.isGreeted) return;
    for (const presence of this.#presences.values()) if (presence.announceAt <= now) this.#announce(presence);
  }

  disconnected() {
    for (const lease of [...this.#leases]) if (lease.endsWithConnection) lease.lose("disconnected");
    for (const presence of this.#presences.values()) presence.announceAt = Infinity;
  }

  close() {
    for (const lease of [...this.#leases]) lease.lose("closed");
  }
}
