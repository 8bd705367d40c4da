import { Lease, refusal } from "./leases.js";

/** What a client holds up on the server for as long as it lives: claims and presence. */
export class Holds {
  #engine;
  #leases = new Set();
  #presences = new Map();

  constructor(engine) {
    this.#engine = engine;
  }

  async claim(message, options) {
    const answer = await this.#engine.request(message);
    if (answer.type === "refused") throw refusal(answer);
    const lease = new Lease(this.#engine, answer, options, () => this.#leases.delete(lease));
    this.#leases.add(lease);
    this.#engine.wake();
    return lease;
  }

  /** Keeps a register up for as long as there is a connection, and again on the next one. */
  present(key, value, metadata) {
    const presence = { key, value, metadata };
    this.#presences.set(key, presence);
    if (this.#engine.isGreeted) this.#announce(presence);
  }

  #announce({ key, value, metadata }) {
    this.#engine.request({ type: "broadcast", key, value, metadata, until: "disconnect" }).catch((error) => {
      this.#engine.log("warn", `presence ${key}: ${error.message}`);
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

  deadline(now) {
    let earliest = Infinity;
    for (const lease of this.#leases) earliest = Math.min(earliest, lease.deadline(now));
    return earliest;
  }

  tick(now) {
    for (const lease of [...this.#leases]) lease.tick(now);
  }

  disconnected() {
    for (const lease of [...this.#leases]) lease.disconnected();
  }

  close() {
    for (const lease of [...this.#leases]) lease.lose("closed");
  }
}
