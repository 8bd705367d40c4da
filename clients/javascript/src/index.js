import {
  checkBoolean, checkConditions, checkIsText, checkKey, checkOptions, checkPositive, checkText, checkTimeToLive, checkTimeout, packMetadata, refuse, toJSON,
} from "./check.js";
import { packBatch } from "./batch.js";
import { Engine } from "./engine.js";
import { StarlingError } from "./errors.js";
import { Knowledge, Memory } from "./memory.js";
import { completeOptions } from "./options.js";
import { MemoryOutbox } from "./outbox.js";
import { after, before, inTurn, pause } from "./patience.js";
import { Pattern } from "./pattern.js";
import { dialer } from "./socket.js";
import { describe } from "./subscription.js";

export { IndexedDBOutbox } from "./indexeddb-outbox.js";
export { Swarm, Task } from "./swarm.js";
export { Knowledge, Memory, MemoryOutbox, Pattern, StarlingError };

/**
 * Opens a local-first replica of a server. It is usable at once: reads and writes work while the connection is made, and while there
 * is none.
 *
 * @param {string | string[]} urls of one server, or of several edges of which the nearest healthy one is used
 * @param {import("./index.js").Options} [options] README.md has the table
 * @returns {Promise<Client>} when the outbox has been read; the connection is made in the background
 */
export async function connect(urls, options = {}) {
  const all = completeOptions(urls, options);
  const records = await all.outbox.load();
  return new Client(all, records);
}

function randomAgent() {
  return `js-${[...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

/** How long `close` waits for what is not settled, and a question for a connection, in milliseconds. */
const PATIENCE = 5_000;
const TIMEOUT = 10_000;
/** What has not been sent in time is given up by the engine first. */
const GRACE = 100;
const TIMEOUT_ONLY = new Set(["timeout"]);
const FETCH_ALL_OPTIONS = new Set(["pageSize", "timeout"]);
const BATCH_OPTIONS = new Set(["require", "op", "timeout"]);
/** Before a batch of which nobody knows what became is sent again, in milliseconds. */
const RESEND_PAUSE = 100;
/** For how long that is known to be safe, with a minute in hand (protocol/README.md, Promises), in milliseconds. */
const ANSWERS_KEPT = 14 * 60_000;
const UNANSWERED = new Set(["outcome_unknown", "offline", "timeout"]);
/** What this client does itself, or has a method for that does more than ask. */
const NOT_REQUESTS = new Set(["subscribe", "unsubscribe", "hello", "ping", "broadcast", "delete", "claim", "renew", "release", "batch"]);
const SUBSCRIBE_OPTIONS = new Set(["snapshot", "echo"]);
const CONDITIONS = ["expect", "fence", "transient", "version"];
const DELETE_OPTIONS = new Set(["metadata", "session", ...CONDITIONS, "timeout"]);
const BROADCAST_OPTIONS = new Set(["ttl", ...DELETE_OPTIONS]);
const CLAIM_OPTIONS = new Set(["ttl", "until", "value", "metadata", "renew", "timeout"]);

/** A replica of a server: what matches the subscriptions, and this client's writes. */
export class Client {
  #engine;
  #socket;
  #outbox;
  #log;
  #timer;
  /** The writes that are not queued, and have no outcome yet. */
  #asking = new Set();
  #timerDeadline = Infinity;
  #stateListeners = new Set();

  /** @internal Use `connect`. */
  constructor(options, records) {
    this.#outbox = options.outbox;
    this.#log = options.log;
    this.#socket = dialer(options, {
      received: (text) => this.#engine.received(text),
      dropped: (reason, code, isFinal) => this.#engine.dropped(reason, code, isFinal),
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

  /** Calls back on each change of state. @returns a function that ends it @throws {StarlingError} `bad_option` */
  onState(callback) {
    if (typeof callback !== "function") throw refuse("the callback of onState", callback, "a function");
    this.#stateListeners.add(callback);
    return () => this.#stateListeners.delete(callback);
  }

  #tellState(state) {
    for (const listener of [...this.#stateListeners]) queueMicrotask(() => this.#call(listener, state));
  }

  async #call(listener, state) {
    try {
      if (this.#stateListeners.has(listener)) await listener(state);
    } catch (error) {
      this.#log("error", `the callback of onState threw: ${error?.stack ?? error}`);
    }
  }

  /** Why there is no connection; undefined while there is one. */
  get lastError() {
    return this.#engine.lastError;
  }

  /**
   * Resolves when the replica is live.
   *
   * @param {{timeout?: number}} [options] milliseconds
   * @throws {StarlingError} what the server has against the credentials; why no server can be reached, where to try again cannot help
   *   (`unauthorized`, `forbidden`, `not_found`, `bad_certificate`, …) or the time is over (`offline`); `closed`
   */
  async live(options) {
    const timeout = checkTimeout(checkOptions("live", options, TIMEOUT_ONLY).timeout, Infinity);
    const live = new Promise((resolve, reject) => {
      if (this.state === "live") return resolve();
      if (this.state === "closed") return reject(new StarlingError("closed", "the client was closed"));
      if (this.#engine.hasVerdict) return reject(this.lastError);
      let timer;
      const settle = (error) => {
        clearTimeout(timer);
        stopStates();
        stopFailures();
        if (error) reject(error);
        else resolve();
      };
      const stopFailures = this.#engine.onVerdict(settle);
      const stopStates = this.onState((state) => {
        if (state === "live") settle();
        if (state === "closed") settle(new StarlingError("closed", "the client was closed"));
      });
      if (timeout !== Infinity) timer = after(timeout, () => settle(this.#late(`the replica is not live after ${timeout} ms`)));
    });
    return inTurn(live);
  }

  /** Why something took too long. */
  #late(what) {
    return this.lastError ?? new StarlingError("offline", `${what}; it is ${this.state}`);
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
   * @throws {StarlingError} `bad_pattern`, `bad_option`, `closed`
   */
  subscribe(pattern, callback, options) {
    callback ??= undefined;
    if (typeof callback === "object" && (options === undefined || options === null)) [callback, options] = [undefined, callback];
    if (callback !== undefined && typeof callback !== "function") {
      throw refuse("the callback of subscribe", callback, "a function, and comes before the options");
    }
    const { snapshot, echo } = checkOptions("subscribe", options, SUBSCRIBE_OPTIONS);
    checkBoolean("snapshot", snapshot);
    checkBoolean("echo", echo);
    const subscription = this.#engine.subscribe(pattern, callback, { snapshot: snapshot ?? true, echo: echo ?? true });
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
      [Symbol.asyncIterator]: () => {
        if (callback) throw new StarlingError("bad_option", `the subscription to ${pattern} has a callback; subscribe without one to iterate`);
        return {
          next: async () => {
            const value = await subscription.delivery.next();
            return value === undefined ? { done: true, value } : { done: false, value };
          },
          return: async () => {
            stop();
            return { done: true, value: undefined };
          },
        };
      },
    });
  }

  #checkOpen() {
    // That nothing is there would be no answer.
    if (this.state === "closed") throw new StarlingError("closed", "the client was closed");
  }

  /** The value of a key, from the replica, at once; undefined where there is none, or nothing subscribed to matches. */
  get(key) {
    this.#checkOpen();
    checkIsText(key);
    return this.#engine.read(key)?.value;
  }

  /** The register of a key, from the replica, at once. */
  entry(key) {
    this.#checkOpen();
    checkIsText(key);
    const register = this.#engine.read(key);
    return register && describe(register, this.#engine.outbox.newest(key) === register);
  }

  /** The registers of the replica that match a pattern, by key. */
  list(pattern = "*") {
    this.#checkOpen();
    const wanted = new Pattern(pattern);
    if (wanted.exact !== undefined) return [this.entry(wanted.exact)].filter(Boolean);
    const keys = new Set();
    for (const { replica } of this.#engine.subscriptions) for (const { key } of replica.list(-Infinity)) keys.add(key);
    const found = [...keys].filter((key) => wanted.matches(key)).map((key) => this.entry(key));
    return found.filter(Boolean).sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  /**
   * Sets a key: at once for this client's own readers, and on the server as soon as there is one.
   *
   * @param {{ttl?: number, metadata?: object, session?: string, expect?: string | null, transient?: boolean, fence?: object,
   *   version?: string, timeout?: number}} [options] With `expect`, `transient`, `fence` or `version` it is not queued: it waits for a
   *   connection that is being made, for at most `timeout` ms, and fails with `offline` where there is none.
   * @returns a promise of what became of it: `applied`, `superseded` by something later, or `condition` (`expect` was not met)
   * @throws {StarlingError} in the promise: `bad_option`, `bad_key`, `bad_value`, what the server has against it
   */
  broadcast(key, value, options) {
    return this.#write(key, BROADCAST_OPTIONS, options, value);
  }

  /** Deletes a key. @see broadcast */
  delete(key, options) {
    return this.#write(key, DELETE_OPTIONS, options);
  }

  #write(key, known, options, value) {
    const type = known === DELETE_OPTIONS ? "delete" : "broadcast";
    let work;
    try {
      work = this.#prepare(key, type, checkOptions(type, options, known), value);
    } catch (error) {
      // Whoever does not await it is to hear of it all the same: nothing was written.
      this.#log("error", `${type}: ${error.message}`);
      work = () => Promise.reject(error);
    }
    return quiet(inTurn(work()));
  }

  /** Checks a write. @returns what makes it */
  #prepare(key, type, { ttl, metadata, session, timeout: wanted, ...others }, value) {
    const timeout = checkTimeout(wanted, TIMEOUT);
    checkKey(key);
    checkText("session", session, 128);
    const problem = checkTimeToLive(ttl);
    if (problem) throw problem;
    const text = type === "delete" ? undefined : toJSON(value, `the value of ${key}`);
    const packed = packMetadata(metadata);
    const conditions = checkConditions(others);
    if (Object.keys(conditions).length === 0) {
      return () => this.#within(wanted, this.#engine.write({ key, value: text, ttl, session, metadata: packed }), key);
    }
    const message = { type, key, value: parse(text), ttl, metadata: parse(packed), session, ...conditions };
    return () => this.#ask(message, timeout);
  }

  /** A queued write, for who waits no longer than so many milliseconds: it stays queued. */
  #within(timeout, outcome, key) {
    if (timeout === undefined || timeout === null) return outcome;
    const why = this.#engine.lastError ? ` (${this.#engine.lastError.message})` : "";
    return before(timeout, outcome, () => new StarlingError("timeout", `the write to ${key} has no outcome after ${timeout} ms${why}; it stays queued`));
  }

  async #ask(message, timeout) {
    const { key } = message;
    const asked = this.#answer(message, timeout).catch((error) => {
      this.#log("warn", `the write to ${key} failed: ${error.message}`);
      throw error;
    });
    this.#asking.add(asked);
    const answer = await asked.finally(() => this.#asking.delete(asked));
    const { version, revision, durable, reason, winner, current, expires_at: expiresAt, judged } = answer;
    if (answer.applied) return { status: "applied", applied: true, key, version, revision, durable, expiresAt, judged };
    return { status: reason, applied: false, key, version, winner, current };
  }

  /** Asks, and waits for the answer for so many milliseconds: what is not sent by then is given up by the engine, which knows that. */
  #answer(message, timeout, take) {
    const { type, key = message.pattern } = message;
    return before(timeout + GRACE, this.#engine.request(message, take, timeout), () => {
      const what = key === undefined ? type : `${type} of ${key}`;
      const text = `the server has not answered the ${what} in ${Math.round(timeout)} ms`;
      if (type === "get" || type === "list") return new StarlingError("timeout", text);
      return new StarlingError("outcome_unknown", `${text}; it may have been carried out`);
    });
  }

  /**
   * Asks the server for a key, whether it is subscribed to or not. It sees the writes that this client made before.
   *
   * @param {{timeout?: number}} [options] milliseconds to wait for a connection that is being made
   * @throws {StarlingError} `offline`
   */
  async fetch(key, options) {
    const timeout = checkTimeout(checkOptions("fetch", options, TIMEOUT_ONLY).timeout, TIMEOUT);
    checkKey(key);
    const answer = await inTurn(this.#answer({ type: "get", key }, timeout));
    return answer.found ? fromAnswer(key, answer) : undefined;
  }

  /**
   * Lets a key live longer, for so many seconds from now: its value and version stay. A time that is not later than its own changes nothing.
   *
   * @param {number} ttl in seconds
   * @param {{timeout?: number}} [options] milliseconds
   * @returns whether there is such a key
   * @throws {StarlingError} `held` (by a claim), `offline`, `bad_value`
   */
  async touch(key, ttl, options) {
    const timeout = checkTimeout(checkOptions("touch", options, TIMEOUT_ONLY).timeout, TIMEOUT);
    checkKey(key);
    const problem = ttl === undefined || ttl === null ? new StarlingError("bad_value", "touch needs a ttl, in seconds") : checkTimeToLive(ttl);
    if (problem) throw problem;
    return (await inTurn(this.#answer({ type: "touch", key, ttl }, timeout))).applied;
  }

  /**
   * Changes several keys in one commit, or none of them. It is not queued. Where its answer is lost, it is asked again for as long as
   * there is time: the server knows it by its `op`.
   *
   * @param {object[]} writes each of another key: `{ key, value, ttl?, metadata?, session?, expect? }`, `{ key, delete: true, expect? }`
   *   or `{ key, release: lease.fence }`
   * @param {{require?: object[], op?: string, timeout?: number}} [options] `require`: what has to be in place,
   *   `{ key, version }` (null: absent) or `{ key, fence }`; `op`: to send it again after `outcome_unknown`, at least 64 random bits;
   *   `timeout` in milliseconds
   * @returns a promise of what became of it: `applied` with `first`, `last` (revisions), `versions`, and how much was `judged` (requirements,
   *   expectations and releases); or not, with what `failed`. A lease that it releases has ended then
   * @throws {StarlingError} in the promise: `bad_option`, `bad_key`, `bad_value`, `offline`, `outcome_unknown`, what the server has against it
   */
  batch(writes, options) {
    let asked;
    try {
      const { require, op = randomAgent(), timeout: wanted } = checkOptions("batch", options, BATCH_OPTIONS);
      const timeout = checkTimeout(wanted, TIMEOUT);
      asked = this.#resend(packBatch(writes, require, op), performance.now() + Math.min(timeout, ANSWERS_KEPT));
    } catch (error) {
      asked = Promise.reject(error);
    }
    // Whoever does not await it is to hear of it all the same.
    const told = asked.catch((error) => {
      this.#log("warn", `the batch failed: ${error.message}`);
      throw error;
    });
    this.#asking.add(told);
    return quiet(inTurn(told.finally(() => this.#asking.delete(told))));
  }

  async #resend(message, end) {
    // A clock that stands still while a machine sleeps, and one that may be set: answers are kept by the server's.
    const sentAt = Date.now();
    let unknown;
    for (;;) {
      const left = Math.max(0, end - performance.now());
      try {
        const { applied, first, last, versions, judged, failed } = await this.#answer(message, left, (answer) => this.#engine.holds.batched(message, answer));
        return applied ? { applied, first, last, versions, judged: judged ?? 0 } : { applied, failed };
      } catch (error) {
        if (error.code === "outcome_unknown") unknown ??= new StarlingError(error.code, `${error.message}; ask again with the op ${message.op}`, { op: message.op });
        // Once it may have been made, nothing but its answer says what became of it.
        if (unknown === undefined) throw error;
        const mayRetry = UNANSWERED.has(error.code) || error.details.retry === true;
        const rest = Math.max(RESEND_PAUSE, error.details.retry_after_ms ?? 0);
        const isKept = performance.now() + rest < end && Math.abs(Date.now() - sentAt) < ANSWERS_KEPT;
        if (!mayRetry || !isKept || this.state === "closed") throw unknown;
        await pause(rest);
      }
    }
  }

  /**
   * Asks the server what this client has no method for. It is not queued.
   *
   * @param {string} type of the message (protocol/README.md)
   * @param {object} [fields] its other fields, but for `id`
   * @param {{timeout?: number}} [options] milliseconds
   * @returns the answer, with all its fields
   * @throws {StarlingError} in the promise: `bad_option`, `offline`, `outcome_unknown`, what the server has against it
   */
  async request(type, fields, options) {
    const timeout = checkTimeout(checkOptions("request", options, TIMEOUT_ONLY).timeout, TIMEOUT);
    checkText("type", type, 128, "bad_option");
    if (NOT_REQUESTS.has(type)) throw new StarlingError("bad_option", `${type} cannot be asked like this: the client has a method for it, or does it by itself`);
    const members = fields === undefined ? {} : JSON.parse(toJSON(fields, `the fields of ${type}`));
    if (typeof members !== "object" || members === null || Array.isArray(members)) throw refuse("fields", fields, "an object");
    return inTurn(this.#answer({ ...members, type }, timeout));
  }

  /** @internal Logs what whoever works for this client has to say. */
  warn(message) {
    this.#log("warn", message);
  }

  /** What agents remember. @returns {Memory} */
  get memory() {
    return new Memory(this);
  }

  /** What is known. @returns {Knowledge} */
  get knowledge() {
    return new Knowledge(this);
  }

  /**
   * Finds memories and knowledge by their words, on the server: what was acknowledged a moment ago, too.
   *
   * @param {string} query words, all of which have to be there; `"a phrase"`; `begin*`; `OR`
   * @param {{in?: string[], agent?: string, pattern?: string, tags?: string[], limit?: number, order?: string, except_session?: string,
   *   timeout?: number}} [options]
   * @returns {Promise<{results: object[], searched: object, complete: boolean, behind?: number}>}
   */
  async search(query, { timeout, ...fields } = {}) {
    const { results, searched, complete, behind } = await this.request("search", { query, ...fields }, { timeout });
    return { results, searched, complete, ...(behind === undefined ? {} : { behind }) };
  }

  /** Goes through all registers on the server that match, page by page. @throws {StarlingError} `offline`, `bad_pattern` */
  async *fetchAll(pattern = "*", options) {
    const { pageSize = 1000, timeout: wanted } = checkOptions("fetchAll", options, FETCH_ALL_OPTIONS);
    checkPositive("pageSize", pageSize, "registers");
    const timeout = checkTimeout(wanted, TIMEOUT);
    new Pattern(pattern);
    let after;
    do {
      const question = { type: "list", pattern, limit: pageSize, after };
      const { registers, next } = await inTurn(this.#answer(question, timeout));
      for (const register of registers) yield fromAnswer(register.key, register);
      after = next;
    } while (after !== undefined);
  }

  /**
   * Claims a key: one holder at a time. The claim is renewed until it is released or lost.
   *
   * @param {{ttl?: number, until?: "disconnect", value?: unknown, metadata?: object, renew?: boolean, timeout?: number}} [options] `ttl`
   *   in seconds, 30 if there is no `until`; `timeout` in milliseconds to wait for a connection that is being made
   * @throws {StarlingError} `held` (by somebody), `exists`, `offline`
   */
  async claim(key, options) {
    const { until, ttl = until ? undefined : 30, value, metadata, renew, timeout: wanted } = checkOptions("claim", options, CLAIM_OPTIONS);
    checkBoolean("renew", renew);
    const timeout = checkTimeout(wanted, TIMEOUT);
    checkKey(key);
    const fields = { value: parse(value === undefined ? undefined : toJSON(value, `the value of ${key}`)), metadata: parse(packMetadata(metadata)) };
    const op = randomAgent();
    return inTurn(this.#engine.holds.claim({ type: "claim", key, ttl, until, ...fields, op }, { ttl, until, renew }, timeout));
  }

  /**
   * Keeps a register up while this client is connected. A key is one register: where the same person or agent may be there several
   * times (two tabs), give each a key of its own (`here:${room}:${name}:${crypto.randomUUID()}`) and list `here:<room>:<name>:*`; else the
   * first to leave takes it down for all.
   *
   * @returns a function that takes it down
   * @throws {StarlingError} `bad_key`, `bad_value`, `closed`
   */
  presence(key, value, options) {
    const { metadata } = checkOptions("presence", options, new Set(["metadata"]));
    checkKey(key);
    // As it is now: it is announced again on each connection.
    const own = parse(toJSON(value, `the value of ${key}`));
    const packed = parse(packMetadata(metadata));
    if (this.state === "closed") throw new StarlingError("closed", "the client was closed");
    this.#engine.holds.present(key, own, packed);
    return () => quiet(inTurn(this.#engine.holds.absent(key)));
  }

  /** The writes that wait for their answer, oldest first, also those that an earlier run left. */
  pendingWrites() {
    return [...this.#engine.outbox].map(({ register, outcome }) => ({ ...describe(register, true), outcome }));
  }

  /**
   * Resolves when each write made so far has its final answer.
   *
   * @param {{timeout?: number}} [options] milliseconds
   * @throws {StarlingError} `timeout` where the time is over; the writes still wait
   */
  async drained(options) {
    const timeout = checkTimeout(checkOptions("drained", options, TIMEOUT_ONLY).timeout, Infinity);
    const outcomes = Promise.allSettled([...[...this.#engine.outbox].map(({ outcome }) => outcome), ...this.#asking]);
    if (timeout === Infinity) return void (await outcomes);
    await before(timeout, outcomes, () => {
      const why = this.#engine.lastError ? `: ${this.#engine.lastError.message}` : `; it is ${this.state}`;
      return new StarlingError("timeout", `${this.#engine.outbox.size + this.#asking.size} writes have no outcome after ${timeout} ms${why}`);
    });
  }

  /** Ends the connection, and makes none until `reconnect`; the replica and the outbox stay. */
  disconnect() {
    this.#engine.disconnect();
  }

  /** Connects again, at once. */
  reconnect() {
    this.#engine.reconnect();
  }

  /**
   * Ends everything: releases the claims that are held, and waits until each write has its outcome, for at most `timeout` ms. What is
   * left is logged; a durable outbox keeps it, and is not waited for where no server answers.
   *
   * @param {{timeout?: number}} [options] 0: wait for nothing
   */
  async close(options) {
    const timeout = checkTimeout(checkOptions("close", options, TIMEOUT_ONLY).timeout, PATIENCE);
    if (this.state === "closed") return;
    if (timeout > 0 && this.#isWorthWaiting) await this.#settle(timeout);
    const left = this.#engine.outbox.size;
    const isDurable = this.#outbox.isDurable ?? true;
    if (left > 0 && isDurable) this.#log("warn", `the client was closed; ${left} writes wait in its outbox for the next one`);
    else if (left > 0) this.#log("warn", `the client was closed with ${left} writes that the server has not acknowledged`);
    globalThis.removeEventListener?.("online", this.#online);
    this.#engine.close();
    clearTimeout(this.#timer);
    this.#socket.close();
    await this.#outbox.close();
  }

  get #isWorthWaiting() {
    const engine = this.#engine;
    if (engine.isGreeted) return true;
    if (engine.isPaused || engine.hasVerdict || !engine.hasUnsettled) return false;
    // A connection is being made, and nothing speaks against it yet.
    return !(this.#outbox.isDurable ?? true) || engine.lastError === undefined;
  }

  async #settle(timeout) {
    let timer, stop, stopStates;
    const over = new Promise((resolve) => {
      timer = after(timeout, resolve);
      stop = this.#engine.onVerdict(resolve);
      stopStates = this.onState((state) => state === "offline" && (this.#outbox.isDurable ?? true) && resolve());
    });
    await Promise.race([over, this.#engine.holds.releaseAll().then(() => this.drained())]);
    clearTimeout(timer);
    stop();
    stopStates();
  }
}

function fromAnswer(key, { version, value, timestamp, agent, expires_at: expiresAt, metadata, session, revision }) {
  return { key, value, deleted: false, version, timestamp, agent, revision, expiresAt, metadata, session, isPending: false };
}

/** A value by itself, whatever becomes of the one that its JSON was made of. */
function parse(json) {
  return json === undefined ? undefined : JSON.parse(json);
}

/** Whoever does not ask what became of a write is not stopped by it. */
function quiet(promise) {
  promise.catch(() => {});
  return promise;
}
