import { StarlingError } from "./errors.js";
import { byteLength, hasControlCharacter } from "./text.js";

const MAXIMUM_COUNTER = 0xffff;

/**
 * A hybrid logical clock (Kulkarni et al., 2014): its stamps follow the wall clock, never go back, and are above every stamp
 * received. Time is a parameter.
 */
export class Clock {
  milliseconds = 0;
  counter = 0;
  /** The greatest stamp that came from a server. */
  #received = [0, 0];

  /** Issues the next stamp. @param {number} now the wall clock, in milliseconds */
  tick(now) {
    // A fraction must not make the same millisecond look like a later one.
    if (Math.floor(now) > this.milliseconds) {
      this.milliseconds = Math.floor(now);
      this.counter = 0;
    } else if (this.counter < MAXIMUM_COUNTER) {
      this.counter++;
    } else {
      this.milliseconds++;
      this.counter = 0;
    }
    return { milliseconds: this.milliseconds, counter: this.counter };
  }

  /** Takes note of a stamp that came from a server, so that the next ones are above it. */
  receive(milliseconds, counter) {
    this.raise(milliseconds, counter);
    const [knownMilliseconds, knownCounter] = this.#received;
    if (isLater(milliseconds, counter, knownMilliseconds, knownCounter)) this.#received = [milliseconds, counter];
  }

  /** Takes note of a stamp of our own. */
  raise(milliseconds, counter) {
    if (!isLater(milliseconds, counter, this.milliseconds, this.counter)) return;
    this.milliseconds = milliseconds;
    this.counter = counter;
  }

  /** Goes back to what servers have sent: our own wall clock turned out to be wrong. What it stamped has to be stamped again. */
  reset() {
    [this.milliseconds, this.counter] = this.#received;
  }
}

const isLater = (milliseconds, counter, otherMilliseconds, otherCounter) =>
  milliseconds > otherMilliseconds || (milliseconds === otherMilliseconds && counter > otherCounter);

/** The text of a version: `01a0c5d3e800-0000-planner`. */
export function formatVersion({ milliseconds, counter }, agent) {
  return `${milliseconds.toString(16).padStart(12, "0")}-${counter.toString(16).padStart(4, "0")}-${agent}`;
}

/** The stamp of a version that is known to be one: what a server sends, and what we made. */
export function stampOf(version) {
  return { milliseconds: parseInt(version.slice(0, 12), 16), counter: parseInt(version.slice(13, 17), 16) };
}

/** The agent of a version that is known to be one. */
export const agentOf = (version) => version.slice(18);

/**
 * Reads a version.
 *
 * @throws {StarlingError} `bad_version` where the text is not canonical
 */
export function parseVersion(text) {
  const match = /^([0-9a-f]{12})-([0-9a-f]{4})-(.+)$/su.exec(text);
  if (!match || byteLength(match[3]) > 64 || hasControlCharacter(match[3])) {
    throw new StarlingError("bad_version", `${JSON.stringify(text)} is no version like 01a0c5d3e800-0000-planner`);
  }
  return { milliseconds: parseInt(match[1], 16), counter: parseInt(match[2], 16), agent: match[3] };
}
