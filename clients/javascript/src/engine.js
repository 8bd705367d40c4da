import { parseVersion } from "./clock.js";
import { Edges } from "./edges.js";
import { StarlingError } from "./errors.js";
import { Holds } from "./holds.js";
import { Register } from "./register.js";
import { Requests } from "./requests.js";
import { Subscriptions } from "./subscriptions.js";
import { Writer } from "./writer.js";

const CONNECT_TIMEOUT = 10_000;
/** How far in the future a stamp may be that our clock follows, where the server does not say. */
const DRIFT = 60_000;

/**
 * All that a client decides, without a socket, a timer or a clock of its own: the shell reports what happens (`opened`, `received`,
 * `dropped`, `probed`, `tick`), and carries out what is asked of its `port`: `dial(url)`, `send(text)`, `hangUp()`, `probe(url)`,
 * `wake()` (the deadline may have changed), `stateChanged(state)`.
 */
export class Engine {
  agent;
  state = "offline";
  edge;
  #phase = "idle";
  #phaseSince = 0;
  #port;
  #options;
  #edges;
  #subscriptions;
  #requests = new Requests();
  #writer;
  #holds = new Holds(this);
  #offset = 0;
  #drift = DRIFT;
  #lastHeard = -Infinity;
  #lastLive = -Infinity;
  #pingSentAt;
  #lastPing = -Infinity;
  #probeAt = Infinity;
  #failures = [];
  /** Whether the user wants no connection. */
  #isPaused = false;

  constructor(options, port) {
    this.#options = options;
    this.#port = port;
    this.agent = options.agent ?? options.randomAgent;
    this.#edges = new Edges(options.urls, options.random);
    this.#writer = new Writer(this, options);
    this.#subscriptions = new Subscriptions(this, this.#writer.outbox);
  }

  now = () => this.#options.now();
  random = () => this.#options.random();
  /** The server's wall clock, as far as it is known. */
  serverNow = () => this.now() + this.#offset;
  log = (level, message) => this.#options.log(level, message);

  // MARK: what the shell reports

  start(records) {
    this.#writer.restore(records);
    this.#dial();
  }

  #dial() {
    const url = this.#isPaused ? undefined : this.#edges.choose(this.now());
    if (url === undefined) {
      this.#setPhase("idle");
      return;
    }
    this.edge = url;
    this.#setPhase("dialing");
    this.#port.dial(url);
  }

  #setPhase(phase) {
    this.#phase = phase;
    this.#phaseSince = this.now();
    this.#updateState();
    this.#port.wake();
  }

  #updateState() {
    const state = this.#computeState();
    if (state === this.state) return;
    this.state = state;
    this.log("info", `${state}${state === "offline" ? "" : ` (${this.edge})`}`);
    this.#port.stateChanged(state);
  }

  #computeState() {
    if (this.#phase === "closed") return "closed";
    if (this.#phase === "idle") return "offline";
    if (this.#phase !== "open") return "connecting";
    return this.#subscriptions.areSynced ? "live" : "catching-up";
  }

  /** A message came. */
  received(text) {
    if (this.#phase === "idle" || this.#phase === "closed") return;
    const now = this.now();
    this.#lastHeard = now;
    if (this.state === "live") this.#lastLive = now;
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      this.log("warn", `the server sent what is no JSON: ${text.slice(0, 80)}`);
      return;
    }
    try {
      this.#handlers[message?.type]?.(message, text);
    } catch (error) {
      // One message that we cannot make sense of is no reason to lose the others.
      this.log("error", `cannot take ${text.slice(0, 200)}: ${error.stack}`);
    }
  }

  #handlers = {
    welcome: (message) => this.#welcome(message),
    subscribed: (message) => this.#subscriptions.find(message.id)?.subscribed(message),
    update: (message, text) => this.#update(message, text),
    synced: ({ id, cursor }) => {
      this.#subscriptions.find(id)?.finishedCatchingUp(cursor);
      this.#updateState();
    },
    cursor: ({ id, cursor }) => this.#subscriptions.find(id)?.reached(cursor),
    pong: () => this.#pong(),
    ack: (message, text) => this.#answer(message, text),
    error: (message, text) => this.#answer(message, text),
    claimed: (message) => this.#requests.answer(message.id, message),
    refused: (message) => this.#requests.answer(message.id, message),
    released: (message) => this.#requests.answer(message.id, message),
    register: (message) => this.#requests.answer(message.id, message),
    registers: (message) => this.#requests.answer(message.id, message),
    bye: ({ code, reason, retry_after_ms: retryAfter }) => {
      this.log("info", `the server says bye: ${code}: ${reason}`);
      this.#leave(retryAfter ?? 0);
    },
  };

  #answer(message, text) {
    const { id } = message;
    if (typeof id === "number" && this.#writer.answer(id, message, text)) return this.#port.wake();
    if (this.#requests.answer(id, message)) return;
    if (message.type !== "error") return;
    if (id === "hello") return this.#unwelcome(message);
    const subscription = this.#subscriptions.find(id);
    if (subscription === undefined) return this.log("warn", `${message.code}: ${message.message}`);
    if (this.#subscriptions.refused(subscription, message)) this.#subscribe(subscription);
    this.#updateState();
    this.#port.wake();
  }

  #welcome(message) {
    if (this.#phase === "dialing") {
      this.adjustOffset(message.time);
      this.#drift = message.limits?.drift_ms ?? DRIFT;
      this.#setPhase("greeting");
      const { session, agent } = this.#options;
      const token = this.#options.token();
      const name = agent ?? (token === undefined ? this.agent : undefined);
      this.send(JSON.stringify({ type: "hello", id: "hello", agent: name, session, token }));
      for (const subscription of this.#subscriptions) this.#subscribe(subscription);
      this.#ping();
      return;
    }
    if (this.#phase !== "greeting") return;
    if (message.agent !== this.agent) {
      const old = this.agent;
      this.agent = message.agent;
      this.#writer.renamed(old, this.agent);
    }
    this.#edges.succeeded(this.edge);
    this.#setPhase("open");
    this.#writer.flush();
    this.#holds.greeted();
    this.#probeAt = Math.min(this.#probeAt, this.now());
  }

  get isGreeted() {
    return this.#phase === "open";
  }

  #unwelcome(message) {
    const error = new StarlingError(message.code, message.message, message);
    this.log("error", `the server refuses the credentials: ${message.message}`);
    for (const reject of this.#failures.splice(0)) reject(error);
    this.#leave(this.#options.refusedDelay);
  }

  adjustOffset(serverTime) {
    this.#offset = serverTime - this.now();
  }

  /** Our clock turned out to be wrong. */
  adjustClock(serverTime) {
    this.adjustOffset(serverTime);
    if (this.#writer.clock.milliseconds > serverTime + this.#drift) this.#writer.clock.reset();
  }

  /** Ends the connection, and does not use this edge for at least so many milliseconds. */
  #leave(retryAfter) {
    this.#edges.failed(this.edge, this.now(), retryAfter);
    this.#port.hangUp();
    this.#disconnected();
  }

  /** The connection, or the attempt at one, ended without our doing. */
  dropped(reason) {
    if (this.#phase === "idle" || this.#phase === "closed") return;
    this.log("info", `the connection to ${this.edge} ended: ${reason}`);
    this.#edges.failed(this.edge, this.now());
    this.#disconnected();
  }

  #disconnected() {
    this.#forgetConnection();
    this.#dial();
  }

  #forgetConnection() {
    this.#pingSentAt = undefined;
    this.#subscriptions.disconnected();
    this.#requests.disconnected();
    this.#writer.disconnected();
    this.#holds.disconnected();
  }

  /** What a probe of another edge found: its round trip in milliseconds; undefined if it does not answer. */
  probed(url, roundTrip) {
    if (this.#phase === "closed") return;
    if (roundTrip === undefined) this.#edges.failed(url, this.now());
    else {
      this.#edges.measured(url, roundTrip);
      this.#edges.succeeded(url);
    }
    const better = this.#phase === "open" ? this.#edges.better(this.edge, this.now()) : undefined;
    if (better === undefined) return;
    this.log("info", `${better} is nearer than ${this.edge}`);
    this.#port.hangUp();
    this.#forgetConnection();
    this.edge = better;
    this.#setPhase("dialing");
    this.#port.dial(better);
  }

  // MARK: time

  /** When `tick` is to be called next. */
  deadline() {
    const now = this.now();
    const times = [];
    if (this.#phase === "idle" && !this.#isPaused) times.push(this.#edges.nextAttempt());
    if (this.#phase === "dialing" || this.#phase === "greeting") times.push(this.#phaseSince + CONNECT_TIMEOUT);
    if (this.#phase === "open") {
      times.push(this.#pingSentAt === undefined ? this.#lastPing + this.#options.pingInterval : this.#pingSentAt + this.#options.pingTimeout);
      if (this.#writer.pausedUntil > now) times.push(this.#writer.pausedUntil);
      if (this.#edges.count > 1) times.push(this.#probeAt);
      for (const subscription of this.#subscriptions) times.push(subscription.retryAt);
    }
    times.push(this.#holds.deadline(now));
    return Math.min(...times, Infinity);
  }

  tick() {
    const now = this.now();
    if (this.#phase === "closed") return;
    this.#holds.tick(now);
    if (this.#phase === "idle") {
      if (this.#edges.nextAttempt() <= now) this.#dial();
    } else if (this.#phase !== "open") {
      if (now >= this.#phaseSince + CONNECT_TIMEOUT) this.#giveUp("it did not answer in time");
    } else {
      this.#tickOpen(now);
    }
    this.#port.wake();
  }

  #tickOpen(now) {
    if (this.#pingSentAt !== undefined) {
      if (now >= this.#pingSentAt + this.#options.pingTimeout) return this.#giveUp("it does not answer pings");
    } else if (now >= this.#lastPing + this.#options.pingInterval) this.#ping();
    this.#writer.flush();
    for (const subscription of this.#subscriptions) if (subscription.retryAt <= now) this.#subscribe(subscription);
    if (now >= this.#probeAt) {
      // Spread, so that a thousand clients do not probe at once.
      this.#probeAt = now + this.#options.probeInterval * (0.5 + this.random());
      for (const url of this.#edges.others(this.edge, now)) this.#port.probe(url);
    }
  }

  /** Ends the connection, and makes none until `reconnect`. */
  disconnect() {
    if (this.#isPaused || this.#phase === "closed") return;
    this.#isPaused = true;
    if (this.#phase === "idle") return this.#port.wake();
    this.#port.hangUp();
    this.#disconnected();
  }

  /** Tries at once, however long the wait would be: after `disconnect`, or when the network is back. */
  reconnect() {
    this.#isPaused = false;
    if (this.#phase !== "idle") return;
    this.#edges.forgive();
    this.#dial();
  }

  get isPaused() {
    return this.#isPaused;
  }

  #giveUp(reason) {
    this.#port.hangUp();
    this.dropped(reason);
  }

  #ping() {
    this.#pingSentAt = this.#lastPing = this.now();
    this.send('{"type":"ping","id":"ping"}');
  }

  #pong() {
    if (this.#pingSentAt === undefined) return;
    this.#edges.measured(this.edge, this.now() - this.#pingSentAt);
    this.#pingSentAt = undefined;
    this.#port.wake();
  }

  send(text) {
    this.#port.send(text);
  }

  /** How long ago, in milliseconds, what the replica holds was certainly the latest; Infinity if it never was. */
  age() {
    return this.now() - (this.state === "live" ? this.#lastHeard : this.#lastLive);
  }

  get edges() {
    return this.#edges.describe(this.now());
  }

  // MARK: subscriptions

  subscribe(pattern, callback, options) {
    const subscription = this.#subscriptions.add(pattern, callback, options);
    if (this.#phase === "open" || this.#phase === "greeting") this.#subscribe(subscription);
    this.#updateState();
    return subscription;
  }

  #subscribe(subscription) {
    subscription.retryAt = Infinity;
    this.send(JSON.stringify(subscription.request()));
  }

  unsubscribe(subscription) {
    if (!this.#subscriptions.remove(subscription)) return;
    subscription.end(undefined);
    if (this.#phase === "open" || this.#phase === "greeting") {
      this.send(JSON.stringify({ type: "unsubscribe", id: subscription.id }));
    }
    this.#updateState();
  }

  #update(message, text) {
    const register = Register.fromWire(message, text);
    if (message.transient) return this.#subscriptions.transient(register);
    const { milliseconds, counter } = parseVersion(message.version);
    // A stamp that the server itself would refuse is not followed.
    if (milliseconds <= this.serverNow() + this.#drift) this.#writer.clock.receive(milliseconds, counter);
    this.confirm(register);
  }

  confirm = (register) => this.#subscriptions.confirm(register);
  touch = (key, cause) => this.#subscriptions.touch(key, cause);
  read = (key) => this.#subscriptions.read(key);

  get subscriptions() {
    return this.#subscriptions;
  }

  // MARK: writes, requests, claims

  write(fields) {
    return this.#writer.write(fields);
  }

  get outbox() {
    return this.#writer.outbox;
  }

  /** Asks the server. @throws {StarlingError} `offline` at once where there is no connection */
  request(message) {
    if (this.#phase === "open") return this.#requests.ask(message, (text) => this.send(text));
    return Promise.reject(new StarlingError("offline", `there is no connection to ${this.#options.urls.join(", ")}; ${message.type} is not queued`));
  }

  get holds() {
    return this.#holds;
  }

  wake = () => this.#port.wake();

  /** Rejects with what the server has against the credentials, as soon as it says so. */
  onCredentialsRefused(reject) {
    this.#failures.push(reject);
  }

  close() {
    if (this.#phase === "closed") return;
    if (this.#phase !== "idle") this.#port.hangUp();
    this.#holds.close();
    this.#forgetConnection();
    this.#subscriptions.close();
    this.#setPhase("closed");
  }
}
