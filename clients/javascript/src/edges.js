/** How the weight of the newest round trip in the average is (RFC 6298, section 2, has 1/8 too). */
const SMOOTHING = 1 / 8;
const FIRST_DELAY = 250;
const LONGEST_DELAY = 30_000;

/**
 * The servers that a client may use, what is known of them, and which one is next. Each has a circuit breaker: closed while all is
 * well; open after a failure, for a time that doubles with each further one, drawn at random from 0 up ("full jitter", so that a
 * thousand clients do not come back at once); half-open after that, when one attempt is made.
 */
export class Edges {
  #edges;
  #random;

  /**
   * @param {string[]} urls in the order in which they are tried as long as nothing is known of them
   * @param {() => number} random from 0 up to 1
   */
  constructor(urls, random) {
    this.#random = random;
    this.#edges = urls.map((url) => ({ url, roundTrip: undefined, failures: 0, openUntil: 0 }));
  }

  get count() {
    return this.#edges.length;
  }

  #find(url) {
    return this.#edges.find((edge) => edge.url === url);
  }

  /** The nearest edge that may be tried now; undefined while all breakers are open. */
  choose(now) {
    const allowed = this.#edges.filter((edge) => edge.openUntil <= now);
    // Those that never failed come first: an edge that is half-open is tried when there is nothing better.
    allowed.sort((a, b) => Number(a.failures > 0) - Number(b.failures > 0) || distance(a) - distance(b));
    return allowed[0]?.url;
  }

  /** When the next edge may be tried. */
  nextAttempt() {
    return Math.min(...this.#edges.map((edge) => edge.openUntil));
  }

  /** Takes note of a round trip, in milliseconds. */
  measured(url, roundTrip) {
    const edge = this.#find(url);
    edge.roundTrip = edge.roundTrip === undefined ? roundTrip : edge.roundTrip + (roundTrip - edge.roundTrip) * SMOOTHING;
  }

  /** Closes the breaker of an edge that works. */
  succeeded(url) {
    const edge = this.#find(url);
    edge.failures = 0;
    edge.openUntil = 0;
  }

  /** Opens the breaker of an edge for a while, at least for `atLeast` milliseconds. */
  failed(url, now, atLeast = 0) {
    const edge = this.#find(url);
    const longest = Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** Math.min(edge.failures, 20));
    edge.failures++;
    // What the server asks for is spread too: it asks everybody for the same.
    edge.openUntil = now + atLeast + this.#random() * longest;
  }

  /** Half-opens all breakers: there is a reason to try again now. */
  forgive() {
    for (const edge of this.#edges) edge.openUntil = 0;
  }

  /** The edges beside the one in use that may be measured now. */
  others(url, now) {
    return this.#edges.filter((edge) => edge.url !== url && edge.openUntil <= now).map((edge) => edge.url);
  }

  /** An edge that is so much nearer than the one in use that it is worth to move; undefined if there is none. */
  better(url, now) {
    const current = this.#find(url);
    if (current.roundTrip === undefined) return undefined;
    const nearest = this.#edges
      .filter((edge) => edge.url !== url && edge.openUntil <= now && edge.roundTrip !== undefined && edge.failures === 0)
      .sort((a, b) => a.roundTrip - b.roundTrip)[0];
    // A move costs a catch-up, so noise is no reason for one.
    return nearest && nearest.roundTrip * 1.5 + 2 < current.roundTrip ? nearest.url : undefined;
  }

  /** What is known, for a status page. */
  describe(now) {
    return this.#edges.map((edge) => ({
      url: edge.url,
      roundTrip: edge.roundTrip,
      breaker: edge.failures === 0 ? "closed" : edge.openUntil > now ? "open" : "half-open",
    }));
  }
}

const distance = (edge) => edge.roundTrip ?? 0;
