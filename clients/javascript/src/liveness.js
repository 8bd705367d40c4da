/** A round trip longer than this says nothing about the difference of clocks. */
const GOOD_ROUND_TRIP = 1_000;
/** A timer that fires this late was kept waiting by this process, and answers may lie unread. */
const LATE = 1_000;

/** Whether the server is still there: by pings, and by whatever else it sends. Times are in milliseconds of a clock that nobody sets. */
export class Liveness {
  #interval;
  #timeout;
  #pingSentAt;
  #lastPing = -Infinity;
  lastHeard = -Infinity;

  constructor(interval, timeout) {
    this.#interval = interval;
    this.#timeout = timeout;
  }

  disconnected() {
    this.#pingSentAt = undefined;
  }

  pinged(now) {
    this.#pingSentAt = this.#lastPing = now;
  }

  /** @returns the round trip, where this answers a ping; and whether it is good enough to set a clock by */
  ponged(now) {
    if (this.#pingSentAt === undefined) return undefined;
    const roundTrip = now - this.#pingSentAt;
    this.#pingSentAt = undefined;
    return { roundTrip, isGood: roundTrip <= GOOD_ROUND_TRIP };
  }

  get #deadEnd() {
    // Who is busy sending is alive, though its pong waits behind that.
    return Math.max(this.#pingSentAt, this.lastHeard) + this.#timeout;
  }

  deadline() {
    return this.#pingSentAt === undefined ? this.#lastPing + this.#interval : this.#deadEnd;
  }

  /** What is to be done: "ping", "leave" or nothing. */
  tick(now) {
    if (this.#pingSentAt === undefined) return now >= this.#lastPing + this.#interval ? "ping" : undefined;
    if (now < this.#deadEnd) return undefined;
    return now > this.#deadEnd + LATE ? "ping" : "leave";
  }
}
