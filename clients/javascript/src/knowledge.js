import { Clock, stampOf } from "./clock.js";

/** How far in the future a stamp may be that our clock follows, where the server does not say. */
const DRIFT = 60_000;
/** How many versions of own writes beside the outbox are remembered. */
const OWN_VERSIONS = 1_000;

/** What a client knows of its server's time and of versions: what is to be stamped is above all of it. */
export class Knowledge {
  clock = new Clock();
  #wall;
  /** The server's wall clock less ours; undefined before the first welcome. */
  offset;
  #drift = DRIFT;
  /** Versions of own writes beside the outbox: conditional ones, claims, presence. */
  #ownVersions = new Set();

  /** @param {() => number} wall our wall clock, in milliseconds */
  constructor(wall) {
    this.#wall = wall;
  }

  /** The server's wall clock, as far as it is known. */
  now() {
    return this.#wall() + (this.offset ?? 0);
  }

  welcomed({ time, limits }) {
    this.setTime(time);
    this.#drift = limits?.drift_ms ?? DRIFT;
  }

  setTime(serverTime) {
    this.offset = serverTime - this.#wall();
  }

  /** Our clock turned out to be wrong. */
  correct(serverTime) {
    this.setTime(serverTime);
    if (this.clock.milliseconds > serverTime + this.#drift) this.clock.reset();
  }

  /** Takes note of a version, but not of one that the server itself would refuse. */
  learn(version) {
    if (version === undefined) return;
    const { milliseconds, counter } = stampOf(version);
    if (milliseconds <= this.now() + this.#drift) this.clock.receive(milliseconds, counter);
  }

  /** Takes note of all versions in an answer. */
  learnFrom(answer) {
    const failed = (answer.failed ?? []).map(({ current }) => current);
    for (const known of [answer, answer.winner, answer.current, ...(answer.registers ?? []), ...failed]) this.learn(known?.version);
    this.learn(answer.versions?.at(-1));
  }

  /** Takes note of an own write beside the outbox. */
  remember(version) {
    if (version === undefined) return;
    this.#ownVersions.add(version);
    if (this.#ownVersions.size > OWN_VERSIONS) this.#ownVersions.delete(this.#ownVersions.values().next().value);
  }

  /** Whether a register is this client's own write, and not what time has made of it. */
  isOwn(register) {
    return register.cause === undefined && (register.isOwn || this.#ownVersions.has(register.version));
  }
}
