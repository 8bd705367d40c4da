import { Engine } from "./engine.js";
import { StarlingError } from "./errors.js";
import { MemoryOutbox } from "./outbox.js";
import { Pattern } from "./pattern.js";
import { dialer } from "./socket.js";
import { describe } from "./subscription.js";

export { IndexedDBOutbox } from "./indexeddb-outbox.js";
export { MemoryOutbox, Pattern, StarlingError };

const DEFAULTS = {
  outboxLimit: 100_000,
  pingInterval: 10_000,
  pingTimeout: 5_000,
  probeInterval: 30_000,
  refusedDelay: 5_000,
  onRefused: (_write, error) => (error.code === "drift" ? "restamp" : "drop"),
  log: (level, message) => (level === "error" || level === "warn" ? console.warn(`starling: ${message}`) : undefined),
  now: () => performance.now(),
  wall: () => Date.now(),
  random: Math.random,
};

/**
 * Opens a local-first replica of a server. It is usable at once: reads and writes work while the connection is made, and while there
 * is none.
 *
 * @param {string | string[]} urls of one server, or of several edges of which the nearest healthy one is used
 * @param {import("./index.js").Options} [options] README.md has the table
 * @returns {Promise<Client>} when the outbox has been read; the connection is made in the background
 */
export async function connect(urls, options = {}) {
  const all = { ...DEFAULTS, ...options, urls: [urls].flat(), outbox: options.outbox ?? new MemoryOutbox() };
  if (all.urls.length === 0) throw new StarlingError("bad_url", "connect needs the URL of a server, such as ws://127.0.0.1:7827/sync");
  all.urls = [...new Set(all.urls.map(completeURL))];
  const records = await all.outbox.load();
  return new Client(all, records);
}

function completeURL(text) {
  let url;
  try {
    url = new URL(text);
  } catch {
    throw new StarlingError("bad_url", `${text} is no URL like ws://127.0.0.1:7827/sync`);
  }
  if (url.hash) throw new StarlingError("bad_url", `${text} has a fragment, which a WebSocket cannot have`);
  if (!["ws:", "wss:"].includes(url.protocol)) throw new StarlingError("bad_url", `${text} does not begin with ws:// or wss://`);
  if (url.pathname === "/") url.pathname = "/sync";
  return url.href;
}

function randomAgent() {
  return `js-${[...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

function toJSON(value, what) {
  let text;
  try {
    text = JSON.stringify(value);
  } catch (error) {
    throw new StarlingError("bad_value", `${what} has no JSON: ${error.message}`);
  }
  if (text === undefined) throw new StarlingError("bad_value", `${what} has no JSON: ${String(value)}`);
  return text;
}

/** A replica of a server: what matches the subscriptions, and this client's writes. */
export class Client {
  #engine;
  #socket;
  #outbox;
  #timer;
  #timerDeadline = Infinity;
  #stateListeners = new Set();

  /** @internal Use `connect`. */
  constructor(options, records) {
    this.#outbox = options.outbox;
    this.#socket = dialer(options, {
      received: (text) => this.#engine.received(text),
      dropped: (reason) => this.#engine.dropped(reason),
      probed: (url, roundTrip) => this.#engine.probed(url, roundTrip),
    });
    this.#engine = new Engine(
      { ...options, token: this.#socket.token, randomAgent: randomAgent() },
      {
        ...this.#socket,
        wake: () => this.#schedule(),
        stateChanged: (state) => this.#tellState(state),
      },
    );
    this.#engine.start(records);
    globalThis.addEventListener?.("online", this.#online);
  }

  /** A browser says that there is a network again. */
  #online = () => this.#engine.isPaused || this.#engine.reconnect();

  #schedule() {
    const deadline = this.#engine?.deadline() ?? Infinity;
    // A timer that fires too early only looks at the clock; one for each message would cost more.
    if (deadline >= this.#timerDeadline) return;
    clearTimeout(this.#timer);
    this.#timerDeadline = deadline;
    this.#timer = setTimeout(() => this.#fire(), Math.min(Math.max(0, Math.ceil(deadline - this.#engine.now())), 60_000));
  }

  #fire() {
    this.#timerDeadline = Infinity;
    this.#engine.tick();
  }

  /** "connecting", "catching-up", "live", "offline" or "closed". */
  get state() {
    return this.#engine.state;
  }

  /** Calls back on each change of state. @returns a function that ends it */
  onState(callback) {
    this.#stateListeners.add(callback);
    return () => this.#stateListeners.delete(callback);
  }

  #tellState(state) {
    for (const listener of [...this.#stateListeners]) queueMicrotask(() => this.#stateListeners.has(listener) && listener(state));
  }

  /** Resolves when the replica is live. Rejects when the credentials are refused, or the client is closed. */
  live() {
    return new Promise((resolve, reject) => {
      if (this.state === "live") return resolve();
      if (this.state === "closed") return reject(new StarlingError("closed", "the client was closed"));
      const settle = (error) => {
        stopStates();
        stopFailures();
        if (error) reject(error);
        else resolve();
      };
      const stopFailures = this.#engine.onCredentialsRefused(settle);
      const stopStates = this.onState((state) => {
        if (state === "live") settle();
        if (state === "closed") settle(new StarlingError("closed", "the client was closed"));
      });
    });
  }

  /** The name that this client writes under. */
  get agent() {
    return this.#engine.agent;
  }

  /** What is known of the edges: URL, smoothed round trip in milliseconds, state of the circuit breaker. */
  get edges() {
    return this.#engine.edges;
  }

  /** The URL of the edge in use, or tried last. */
  get edge() {
    return this.#engine.edge;
  }

  /**
   * How many milliseconds ago what `get` and `list` answer was certainly the latest, but for the time that a change takes to get
   * here; Infinity if it never was.
   */
  age() {
    return this.#engine.age();
  }

  /**
   * Subscribes to a pattern: what matches now, and then every change.
   *
   * @returns a function that ends the subscription: when it returns, nothing more is called. Without a callback the subscription is an
   *   async iterator of updates.
   */
  subscribe(pattern, callback, options) {
    if (callback !== undefined && typeof callback !== "function") [callback, options] = [undefined, callback];
    const subscription = this.#engine.subscribe(pattern, callback, options);
    const stop = () => this.#engine.unsubscribe(subscription);
    const now = () => this.#engine.serverNow();
    return Object.assign(stop, {
      pattern,
      synced: subscription.synced,
      get: (key) => {
        const register = subscription.replica.get(key);
        return register?.isVisible(now()) ? register.value : undefined;
      },
      list: () => subscription.replica.list(now()).map((register) => describe(register)),
      [Symbol.asyncIterator]: () => ({
        next: async () => {
          const value = await subscription.delivery.next();
          return value === undefined ? { done: true, value } : { done: false, value };
        },
        return: async () => {
          stop();
          return { done: true, value: undefined };
        },
      }),
    });
  }

  /** The value of a key, from the replica, at once; undefined where there is none, or nothing subscribed to matches. */
  get(key) {
    return this.#engine.read(key)?.value;
  }

  /** The register of a key, from the replica, at once. */
  entry(key) {
    const register = this.#engine.read(key);
    return register && describe(register, this.#engine.outbox.newest(key) === register);
  }

  /** The registers of the replica that match a pattern, by key. */
  list(pattern = "*") {
    const wanted = new Pattern(pattern);
    const keys = new Set();
    for (const { replica } of this.#engine.subscriptions) for (const { key } of replica.list(-Infinity)) keys.add(key);
    const found = [...keys].filter((key) => wanted.matches(key)).map((key) => this.entry(key));
    return found.filter(Boolean).sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  /**
   * Sets a key: at once for this client's own readers, and on the server as soon as there is one.
   *
   * @param {{ttl?: number, metadata?: object, session?: string, expect?: string | null, transient?: boolean, fence?: object}} [options]
   *   With `expect`, `transient` or `fence` it is not queued: without a connection it fails with `offline`.
   * @returns a promise of what became of it: `applied`, `superseded` by something later, or `condition` (`expect` was not met)
   * @throws {StarlingError} in the promise, what the server has against it
   */
  broadcast(key, value, options = {}) {
    return quiet(this.#write(key, () => toJSON(value, `the value of ${key}`), value, options));
  }

  /** Deletes a key. @see broadcast */
  delete(key, options = {}) {
    return quiet(this.#write(key, () => undefined, undefined, options));
  }

  async #write(key, value, parsed, { ttl, metadata, session, ...conditions }) {
    checkKey(key);
    const text = value();
    if (Object.values(conditions).every((condition) => condition === undefined)) {
      return this.#engine.write({ key, value: text, ttl, session, metadata: metadata && toJSON(metadata, "metadata") });
    }
    const type = text === undefined ? "delete" : "broadcast";
    const answer = await this.#engine.request({ type, key, value: parsed, ttl, metadata, session, ...conditions });
    const { version, revision, durable, reason, winner, current } = answer;
    if (answer.applied) return { status: "applied", applied: true, key, version, revision, durable };
    return { status: reason, applied: false, key, version, winner, current };
  }

  /** Asks the server for a key, whether it is subscribed to or not. @throws {StarlingError} `offline` */
  async fetch(key) {
    const answer = await this.#engine.request({ type: "get", key });
    return answer.found ? fromAnswer(key, answer) : undefined;
  }

  /** Goes through all registers on the server that match, page by page. @throws {StarlingError} `offline` */
  async *fetchAll(pattern = "*", { pageSize = 1000 } = {}) {
    let after;
    do {
      const { registers, next } = await this.#engine.request({ type: "list", pattern, limit: pageSize, after });
      for (const register of registers) yield fromAnswer(register.key, register);
      after = next;
    } while (after !== undefined);
  }

  /**
   * Claims a key: one holder at a time. The claim is renewed until it is released or lost.
   *
   * @param {{ttl?: number, until?: "disconnect", value?: unknown, metadata?: object, renew?: boolean}} [options] `ttl` in seconds,
   *   30 if there is no `until`
   * @throws {StarlingError} `held` (by somebody), `exists`, `offline`
   */
  claim(key, options = {}) {
    const { ttl = options.until ? undefined : 30, until, value, metadata, renew } = options;
    const op = randomAgent();
    return this.#engine.holds.claim({ type: "claim", key, ttl, until, value, metadata, op }, { ttl, until, renew });
  }

  /** Keeps a register up while this client is connected. @returns a function that takes it down */
  presence(key, value, { metadata } = {}) {
    this.#engine.holds.present(key, value, metadata);
    return () => quiet(this.#engine.holds.absent(key));
  }

  /** The writes that wait for their answer, oldest first, also those that an earlier run left. */
  pendingWrites() {
    return [...this.#engine.outbox].map(({ register, outcome }) => ({ ...describe(register, true), outcome }));
  }

  /** Resolves when each write made so far has its final answer. */
  async drained() {
    await Promise.allSettled([...this.#engine.outbox].map(({ outcome }) => outcome));
  }

  /** Ends the connection, and makes none until `reconnect`; the replica and the outbox stay. */
  disconnect() {
    this.#engine.disconnect();
  }

  /** Connects again, at once. */
  reconnect() {
    this.#engine.reconnect();
  }

  /** Ends everything. Writes that wait stay in a durable outbox. */
  async close() {
    globalThis.removeEventListener?.("online", this.#online);
    this.#engine.close();
    clearTimeout(this.#timer);
    this.#socket.close();
    await this.#outbox.close();
  }
}

function checkKey(key) {
  if (typeof key !== "string" || key === "") throw new StarlingError("bad_key", "a key is a text of 1 to 512 bytes");
}

function fromAnswer(key, { version, value, expires_at: expiresAt, metadata, session, revision }) {
  return { key, value, deleted: false, version, revision, expiresAt, metadata, session, isPending: false };
}

/** Whoever does not ask what became of a write is not stopped by it. */
function quiet(promise) {
  promise.catch(() => {});
  return promise;
}
