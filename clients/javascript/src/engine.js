import { MAXIMUM_DEPTH, checkDepth, checkTimeToLive } from "./check.js";
import { Edges } from "./edges.js";
import { StarlingError } from "./errors.js";
import { Holds } from "./holds.js";
import { Knowledge } from "./knowledge.js";
import { Liveness } from "./liveness.js";
import { Queue } from "./queue.js";
import { Register } from "./register.js";
import { Requests } from "./requests.js";
import { Subscriptions } from "./subscriptions.js";
import { byteLength } from "./text.js";
import { Verdicts } from "./verdicts.js";
import { Writer } from "./writer.js";

const CONNECT_TIMEOUT = 10_000;
/** How long a question may wait to be sent. */
const TIMEOUT = 10_000;
/** A connection that lived so long was a good one. */
const GOOD_CONNECTION = 5_000;
/** The longest message, where the server does not say. */
const LONGEST_MESSAGE = (1 << 20) + (64 << 10);

/**
 * All that a client decides, without a socket, a timer or a clock of its own: the shell reports what happens (`start`, `received`,
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
  #liveness;
  #longestMessage = LONGEST_MESSAGE;
  #lastLive = -Infinity;
  /** What is known of the server's time, and of versions. */
  knowledge;
  #probeAt = Infinity;
  #verdicts;
  /** Whether the server was asked which name we have. */
  #isNameless = false;
  /** Whether the user wants no connection. */
  #isPaused = false;
  /** Why there is no connection; undefined while there is one. */
  lastError;
  /** What was logged as that of each edge: once is enough. */
  #told = new Map();
  /** The ids of what was sent and is not answered, in that order: the server answers in it. */
  #asked = new Queue();

  constructor(options, port) {
    this.#options = options;
    this.#port = port;
    this.agent = options.agent ?? options.randomAgent;
    this.#edges = new Edges(options.urls, options.random);
    this.#verdicts = new Verdicts(options.urls.length);
    this.knowledge = new Knowledge(options.wall);
    this.#writer = new Writer(this, options);
    this.#liveness = new Liveness(options.pingInterval, options.pingTimeout);
    this.#subscriptions = new Subscriptions(this, this.#writer.outbox);
  }

  /** Milliseconds of a clock that nobody sets: for all that is to happen some time later. */
  now = () => this.#options.now();
  random = () => this.#options.random();
  /** The server's wall clock, as far as it is known. */
  serverNow = () => this.knowledge.now();
  isOwn = (register) => this.knowledge.isOwn(register);
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
    this.#liveness.lastHeard = now;
    if (this.state === "live") this.#lastLive = now;
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      return this.#giveUp(`the server sent what is no JSON: ${JSON.stringify(`${text}`.slice(0, 80))}`, "bad_answer");
    }
    try {
      const handler = this.#handlers[message?.type];
      if (handler) handler(message, text);
      // Whatever else a request is answered with.
      else if (this.#requests.has(message?.id)) this.#answer(message);
    } catch (error) {
      this.log("error", `cannot take ${text.slice(0, 200)}: ${error.stack}`);
      this.#cannotTake(message, error);
    }
  }

  /** A message makes no sense to us: its request fails, or where it answers none, the connection. */
  #cannotTake(message, error) {
    const problem = new StarlingError("bad_answer", `the server sent what this client cannot take: ${error.message}`);
    if (!this.#requests.fail(message?.id, problem)) this.#giveUp(problem.message, "bad_answer");
  }

  #handlers = {
    welcome: (message) => this.#welcome(message),
    subscribed: (message) => {
      this.#answered(message.id);
      this.#subscriptions.find(message.id)?.subscribed(message);
    },
    unsubscribed: ({ id }) => this.#answered(id),
    update: (message, text) => this.#update(message, text),
    synced: ({ id, cursor }) => {
      this.#subscriptions.find(id)?.finishedCatchingUp(cursor);
      this.#updateState();
    },
    cursor: ({ id, cursor }) => this.#subscriptions.find(id)?.reached(cursor),
    pong: ({ time }) => this.#pong(time),
    ack: (message, text) => this.#answer(message, text),
    error: (message, text) => this.#answer(message, text),
    claimed: (message) => this.#answer(message),
    refused: (message) => this.#answer(message),
    released: (message) => this.#answer(message),
    register: (message) => this.#answer(message),
    registers: (message) => this.#answer(message),
    bye: ({ code, reason, retry_after_ms: retryAfter }) => {
      this.lastError = new StarlingError("offline", `the server says bye: ${code}${reason ? `: ${reason}` : ""}`, { reason: code });
      this.log("info", this.lastError.message);
      this.#verdicts.remove(this.edge);
      this.#leave(retryAfter ?? 0);
    },
  };

  #answer(message, text) {
    const { type } = message;
    // What the server could not read as far as the id: answers come in order, so it is the first that has none.
    const id = message.id ?? (type === "error" ? this.#asked.first : undefined);
    this.#answered(id);
    // What we write next is to be above whatever we know of.
    this.knowledge.learnFrom(message);
    if (message.code === "unauthorized" && id !== "hello") {
      // It would say so of all that we ask: nothing that waits is to be given up for it.
      this.#requests.answer(id, message);
      return this.#unwelcome(message);
    }
    if (typeof id === "number" && this.#writer.answer(id, message, text)) return this.#port.wake();
    if (type !== "register") for (const version of message.versions ?? [message.version]) this.knowledge.remember(version);
    if (this.#requests.answer(id, message)) return;
    if (type !== "error") return;
    if (id === "hello") return this.#unwelcome(message);
    if (id === "ping") return this.#pong();
    const subscription = this.#subscriptions.find(id);
    if (subscription === undefined) return this.log("warn", `${message.code}: ${message.message}`);
    if (this.#subscriptions.refused(subscription, message)) this.#subscribe(subscription);
    this.#updateState();
    this.#port.wake();
  }

  #answered(id) {
    // "overloaded" may overtake others.
    if (this.#asked.first === id) this.#asked.shift();
    else this.#asked.remove(id);
  }

  #welcome(message) {
    if (this.#phase === "dialing") {
      const isFirst = this.knowledge.offset === undefined;
      this.knowledge.welcomed(message);
      if (isFirst) this.#writer.corrected(this.knowledge.offset);
      this.#longestMessage = message.limits?.message ?? LONGEST_MESSAGE;
      this.#setPhase("greeting");
      this.#hello(this.agent);
      // Before the subscriptions: behind a snapshot it would measure that.
      this.#ping();
      for (const subscription of this.#subscriptions) this.#subscribe(subscription);
      return;
    }
    if (this.#phase !== "greeting") return;
    this.#answered("hello");
    this.lastError = undefined;
    this.#told.clear();
    this.#verdicts.remove(this.edge);
    if (message.agent !== this.agent) {
      this.agent = message.agent;
      this.#writer.renamed();
    }
    this.#setPhase("open");
    this.#writer.flush();
    this.#holds.greeted();
    this.#probeAt = Math.min(this.#probeAt, this.now());
  }

  #hello(agent) {
    const { session } = this.#options;
    this.send(JSON.stringify({ type: "hello", id: "hello", agent, session, token: this.#options.token() }), "hello");
  }

  get isGreeted() {
    return this.#phase === "open";
  }

  #unwelcome(message) {
    // The credentials say who we are, and a name that nobody chose is no reason to disagree.
    if (message.code === "forbidden" && this.#options.agent === undefined && !this.#isNameless) {
      this.#isNameless = true;
      return this.#hello(undefined);
    }
    const error = new StarlingError(message.code, message.message, message);
    if (message.retry) {
      this.#passingly(error);
      return this.#leave(message.retry_after_ms ?? 0);
    }
    this.#giveUpOn(error);
    this.#leave(this.#options.refusedDelay);
  }

  /**
   * To try this edge again cannot help, until somebody changes something. Where that goes for all, whoever waits is told. It is tried
   * again all the same, at times.
   */
  #giveUpOn(error) {
    this.lastError = error;
    this.#tell("error", `${this.edge}: ${error.message}`);
    if (this.#verdicts.add(this.edge, error)) this.#requests.giveUp(error);
  }

  /** There is no connection to this edge, and there may be one later. */
  #passingly(error) {
    this.lastError = error;
    this.#verdicts.remove(this.edge);
    if (error.code === "bad_answer") this.#tell("error", `${this.edge}: ${error.message}`);
    else if (this.#phase === "open") this.log("info", `the connection to ${this.edge} ended: ${error.message}`);
    else this.#tell("warn", `cannot connect to ${this.edge}: ${error.message}`);
  }

  /** Logs why there is no connection: once, however often it is tried. */
  #tell(level, text) {
    this.log(text === this.#told.get(this.edge) ? "debug" : level, text);
    this.#told.set(this.edge, text);
  }

  /** Whether to try again cannot help. */
  get hasVerdict() {
    return this.#verdicts.areFinal && this.#phase !== "open";
  }

  /** Ends the connection, and does not use this edge for at least so many milliseconds. */
  #leave(retryAfter) {
    this.#judgeEdge();
    this.#edges.failed(this.edge, this.now(), retryAfter);
    this.#port.hangUp();
    this.#disconnected();
  }

  /**
   * The connection, or the attempt at one, ended without our doing.
   *
   * @param {boolean} [isFinal] whether it would end in the same way again
   */
  dropped(reason, code = "offline", isFinal = false) {
    if (this.#phase === "idle" || this.#phase === "closed") return;
    const error = new StarlingError(code, reason);
    if (isFinal) this.#giveUpOn(error);
    else this.#passingly(error);
    this.#judgeEdge();
    this.#edges.failed(this.edge, this.now(), isFinal ? this.#options.refusedDelay : 0);
    this.#disconnected();
  }

  /** A connection that lasted closes the breaker: one that is greeted and then dropped, again and again, does not. */
  #judgeEdge() {
    if (this.#phase === "open" && this.now() >= this.#phaseSince + GOOD_CONNECTION) this.#edges.succeeded(this.edge);
  }

  #disconnected() {
    this.#forgetConnection();
    this.#dial();
  }

  #forgetConnection() {
    this.#liveness.disconnected();
    this.#isNameless = false;
    this.#asked.clear();
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
    // A move is not worth a lost claim, or an answer that does not come.
    if (this.#phase !== "open" || this.#requests.size > 0 || this.#holds.needConnection) return;
    const better = this.#edges.better(this.edge, this.now());
    // One that answers pings may still take nobody in.
    if (better === undefined || this.#verdicts.has(better)) return;
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
    const times = [];
    if (this.#phase === "idle" && !this.#isPaused) times.push(this.#edges.nextAttempt());
    if (this.#phase === "dialing" || this.#phase === "greeting") times.push(this.#phaseSince + CONNECT_TIMEOUT);
    if (this.#phase === "open") {
      times.push(this.#liveness.deadline());
      if (this.#writer.pausedUntil > 0) times.push(this.#writer.pausedUntil);
      if (this.#edges.count > 1) times.push(this.#probeAt);
      for (const subscription of this.#subscriptions) times.push(subscription.retryAt);
    }
    times.push(this.#holds.deadline(), this.#requests.deadline());
    return Math.min(...times, Infinity);
  }

  tick() {
    const now = this.now();
    if (this.#phase === "closed") return;
    this.#holds.tick(now);
    this.#requests.tick(now, (type) => this.#offline(type));
    if (this.#phase === "idle") {
      if (this.#edges.nextAttempt() <= now) this.#dial();
    } else if (this.#phase !== "open") {
      if (now >= this.#phaseSince + CONNECT_TIMEOUT) this.#giveUp(`it said nothing for ${CONNECT_TIMEOUT / 1000} s`);
    } else {
      this.#tickOpen(now);
    }
    this.#port.wake();
  }

  #tickOpen(now) {
    const verdict = this.#liveness.tick(now);
    if (verdict === "leave") return this.#giveUp("it does not answer pings");
    if (verdict === "ping") this.#ping();
    this.#judgeEdge();
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
    this.#verdicts.clear();
    if (this.#phase !== "idle") return;
    this.#edges.forgive();
    this.#dial();
  }

  get isPaused() {
    return this.#isPaused;
  }

  #giveUp(reason, code) {
    this.#port.hangUp();
    this.dropped(reason, code);
  }

  #ping() {
    this.#liveness.pinged(this.now());
    this.send('{"type":"ping","id":"ping"}', "ping");
  }

  #pong(time) {
    this.#answered("ping");
    const pong = this.#liveness.ponged(this.now());
    if (pong !== undefined && time !== undefined) {
      this.#edges.measured(this.edge, pong.roundTrip);
      if (pong.isGood) this.knowledge.setTime(time + pong.roundTrip / 2);
    }
    this.#port.wake();
  }

  /** @param {string | number} id what the server answers it under */
  send(text, id) {
    this.#asked.push(id);
    this.#port.send(text);
  }

  /** How long ago, in milliseconds, what the replica holds was certainly the latest; Infinity if it never was. */
  age() {
    return this.now() - (this.state === "live" ? this.#liveness.lastHeard : this.#lastLive);
  }

  get edges() {
    return this.#edges.describe(this.now());
  }

  // MARK: subscriptions

  /** @throws {StarlingError} `bad_pattern`, `closed` */
  subscribe(pattern, callback, options) {
    if (this.#phase === "closed") throw new StarlingError("closed", "the client was closed");
    const subscription = this.#subscriptions.add(pattern, callback, options);
    if (this.#phase === "open" || this.#phase === "greeting") this.#subscribe(subscription);
    this.#updateState();
    return subscription;
  }

  #subscribe(subscription) {
    subscription.retryAt = Infinity;
    this.send(JSON.stringify(subscription.request()), subscription.id);
  }

  unsubscribe(subscription) {
    if (!this.#subscriptions.remove(subscription)) return;
    subscription.end(undefined);
    if (this.#phase === "open" || this.#phase === "greeting") {
      this.send(JSON.stringify({ type: "unsubscribe", id: subscription.id }), subscription.id);
    }
    this.#updateState();
  }

  #update(message, text) {
    const register = Register.fromWire(message, text);
    if (message.transient) return this.#subscriptions.transient(register);
    this.knowledge.learn(message.version);
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
    if (this.#phase === "closed") return Promise.reject(new StarlingError("closed", "the client was closed"));
    return this.#writer.write(fields);
  }

  get outbox() {
    return this.#writer.outbox;
  }

  /** What speaks against sending a text. */
  tooLarge(text, what) {
    if (text.length * 3 <= this.#longestMessage) return undefined;
    const size = byteLength(text);
    if (size <= this.#longestMessage) return undefined;
    return new StarlingError("too_large", `the message for ${what} is ${size} bytes; the server's limit is ${this.#longestMessage}`);
  }

  /**
   * Asks the server, behind the writes that were made before it. Waits for a connection that is being made.
   *
   * @param {(answer: object) => unknown} [take] makes the result of the answer, before anything else comes from the server
   * @param {number} [timeout] how long it may wait to be sent, in milliseconds
   * @throws {StarlingError} `offline` where there is no connection, and none being made
   */
  request(message, take = (answer) => answer, timeout = TIMEOUT) {
    if (this.#phase === "closed") return Promise.reject(new StarlingError("closed", "the client was closed"));
    if (this.#phase === "idle") return Promise.reject(this.#offline(message.type));
    let text;
    try {
      text = JSON.stringify(message);
    } catch (error) {
      return Promise.reject(new StarlingError("bad_value", `the ${message.type} has no JSON: ${error.message}`));
    }
    const what = `the ${message.type}`;
    const problem = checkTimeToLive(message.ttl) ?? checkDepth(what, text, MAXIMUM_DEPTH) ?? this.tooLarge(text, message.type);
    if (problem) return Promise.reject(problem);
    const answer = this.#requests.ask(message, take, this.outbox.lastSequence, this.now() + timeout);
    this.#writer.flush();
    this.#port.wake();
    return answer;
  }

  get hasQuestions() {
    return this.#requests.hasQuestions;
  }

  /** Sends what was asked before the write with this sequence. */
  sendQuestions(before) {
    this.#requests.send(before, (text, id) => this.send(text, id));
  }

  #offline(type) {
    if (this.#phase === "open") return new StarlingError("timeout", `${type} waited too long for the writes before it`);
    const why = this.lastError === undefined ? "" : `: ${this.lastError.message}`;
    const reason = this.lastError?.code;
    return new StarlingError("offline", `there is no connection to ${this.#options.urls.join(", ")}${why}; ${type} is not queued`, { reason });
  }

  /** Whether something was made that has no outcome yet. */
  get hasUnsettled() {
    return this.outbox.size > 0 || this.#requests.size > 0;
  }

  get holds() {
    return this.#holds;
  }

  wake = () => this.#port.wake();

  /**
   * Calls back when to try again cannot help: with what the server has against the credentials, or why there is no server.
   *
   * @returns a function that ends it
   */
  onVerdict(reject) {
    return this.#verdicts.wait(reject);
  }

  close() {
    if (this.#phase === "closed") return;
    if (this.#phase !== "idle") this.#port.hangUp();
    this.#holds.close();
    this.#forgetConnection();
    this.#subscriptions.close();
    this.#requests.giveUp(new StarlingError("closed", "the client was closed"));
    this.#writer.close();
    this.#setPhase("closed");
  }
}
