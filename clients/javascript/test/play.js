import assert from "node:assert/strict";
import { Engine } from "../src/engine.js";

const START = 1_700_000_000_000;
const WELCOME = { type: "welcome", server: "played", node: "n", cursor: "e:0", agent: "anon-1", limits: { drift_ms: 60_000 }, ping_interval_ms: 25_000 };
const EPOCH = "e";

/** Plays a transcript of protocol/vectors/clients.json against an engine. */
export class Player {
  now = START;
  /** By how much the machine's clock was set ahead. */
  ahead = 0;
  dials = [];
  sent = [];
  isMute = false;
  names = new Map();
  subscriptions = new Map();
  writes = new Map();
  leases = new Map();
  ends = new Map();
  stored = new Map();

  constructor({ urls = ["ws://one/sync"], session }, options) {
    this.options = options;
    this.urls = urls;
    this.session = session;
    this.start();
  }

  start() {
    const outbox = { put: (record) => this.stored.set(record.version, { ...record }), remove: (version) => this.stored.delete(version) };
    const port = {
      dial: (url) => this.dials.push(url),
      send: (text) => this.hear(JSON.parse(text)),
      hangUp: () => {},
      probe: () => {},
      wake: () => {},
      stateChanged: () => {},
    };
    this.engine = new Engine(
      {
        urls: this.urls,
        agent: "me",
        session: this.session,
        token: () => undefined,
        outbox,
        outboxLimit: 1000,
        pingInterval: 10_000,
        pingTimeout: 5_000,
        probeInterval: 30_000,
        refusedDelay: 5_000,
        onRefused: (_write, error) => (error.code === "drift" ? "restamp" : "drop"),
        now: () => this.now,
        wall: () => this.now + this.ahead,
        random: () => 0.5,
        log: () => {},
        ...this.options,
      },
      port,
    );
    this.engine.start([...this.stored.values()]);
  }

  hear(message) {
    if (message.type === "ping") {
      if (!this.isMute) this.pongs = (this.pongs ?? 0) + 1;
    } else if (message.type !== "hello") this.sent.push(message);
  }

  answerPings() {
    for (; this.pongs > 0; this.pongs--) this.engine.received('{"type":"pong","id":"ping"}');
  }

  async step(step) {
    const [[name, argument]] = Object.entries(step);
    await this.steps[name](argument, step);
    this.answerPings();
  }

  steps = {
    connect: (fields, { agent = "me" }) => {
      assert.ok(this.dials.pop(), "the client asks for no connection");
      this.dials = [];
      const welcome = JSON.stringify({ ...WELCOME, epoch: EPOCH, time: this.now, ...fields });
      this.engine.received(welcome);
      this.engine.received(JSON.stringify({ ...JSON.parse(welcome), agent }));
    },
    dials: (url) => {
      const dialed = this.dials.at(-1) ?? null;
      if (url === "$any") assert.ok(dialed);
      else assert.equal(dialed, url);
    },
    drop: () => this.engine.dropped("played"),
    user: (what, { ahead }) => {
      if (what === "clock") this.ahead = ahead;
      else this.engine[what]();
    },
    restart: () => {
      this.engine.close();
      this.dials = [];
      this.start();
    },
    mute: () => (this.isMute = true),
    advance: (milliseconds) => {
      const end = this.now + milliseconds;
      for (let turn = 0; turn < 1000 && this.engine.deadline() <= end; turn++) {
        this.now = Math.max(this.now, this.engine.deadline());
        this.engine.tick();
        this.answerPings();
      }
      this.now = end;
    },
    subscribe: (pattern, { as, options }) => this.subscriptions.set(as, this.engine.subscribe(pattern, undefined, options)),
    unsubscribe: (as) => this.engine.unsubscribe(this.subscriptions.get(as)),
    write: (key, step) => this.writes.set(step.as, this.write(key, step)),
    claim: (key, { as, options }) => {
      const claimed = this.engine.holds.claim({ type: "claim", key, op: "op", ...options }, options);
      const kept = claimed.then((lease) => {
        this.leases.set(as, lease);
        lease.ended.then((reason) => this.ends.set(as, { reason: reason ?? null }));
      });
      this.writes.set(as, kept.catch((error) => ({ error })));
    },
    renew: (as, { value }) => void this.leases.get(as).renew({ value }).catch(() => {}),
    release: (as) => void this.leases.get(as).release().catch(() => {}),
    holds: (as, { is }) => assert.equal(this.leases.get(as).isHeld, is),
    lost: async (as, { reason }) => {
      await new Promise(setImmediate);
      assert.deepEqual(this.ends.get(as), { reason });
    },
    sends: (expected) => {
      const message = this.sent.shift();
      assert.ok(message, `the client sends nothing; expected ${JSON.stringify(expected)}`);
      this.match(expected, message, "");
    },
    silent: () => assert.deepEqual(this.sent, []),
    receives: async (message) => {
      this.engine.received(JSON.stringify(this.fill(message)));
      // Whoever waited for it goes on.
      await new Promise(setImmediate);
    },
    text: (text) => this.engine.received(text),
    told: (as, { update }) => {
      const told = this.subscriptions.get(as).delivery.take();
      assert.ok(told, `${as} is told nothing; expected ${JSON.stringify(update)}`);
      this.match(update, { ...told, pending: told.isPending, transient: told.isTransient, expires_at: told.expiresAt }, "");
    },
    quiet: (as) => assert.equal(this.subscriptions.get(as).delivery.take(), undefined),
    failed: (as, { error }) => assert.equal(this.subscriptions.get(as).error?.code, error),
    outcome: async (as, { is, error, pending }) => {
      const outcome = await Promise.race([this.writes.get(as), new Promise((resolve) => setImmediate(resolve, { pending: true }))]);
      if (pending) assert.ok(outcome.pending, JSON.stringify(outcome));
      else if (error) assert.equal(outcome.error?.code, error, JSON.stringify(outcome));
      else this.match(is, outcome, "");
    },
    sees: (key, { value }) => assert.deepEqual(this.engine.read(key)?.value ?? null, value),
    state: (state) => assert.equal(this.engine.state, state),
  };

  write(key, { value, deleted, ttl, metadata, options }) {
    const outcome = options
      ? this.engine.request({ type: "broadcast", key, value, ...options }).then((ack) => ({ ...ack, status: ack.applied ? "applied" : ack.reason }))
      : this.engine.write({
          key,
          value: deleted ? undefined : JSON.stringify(value),
          ttl,
          metadata: metadata && JSON.stringify(metadata),
        });
    return outcome.catch((error) => ({ error }));
  }

  fill(message) {
    if (typeof message === "string" && message.startsWith("$")) return this.names.get(message);
    if (Array.isArray(message)) return message.map((item) => this.fill(item));
    if (message === null || typeof message !== "object") return message;
    return Object.fromEntries(Object.entries(message).map(([name, value]) => [name, this.fill(value)]));
  }

  match(expected, actual, path) {
    if (expected === "$any") return assert.notEqual(actual, undefined, path);
    if (typeof expected === "string" && expected.startsWith("$")) {
      if (!this.names.has(expected)) this.names.set(expected, actual);
      return assert.equal(actual, this.names.get(expected), `${path}: ${expected}`);
    }
    if (expected === null || typeof expected !== "object") return assert.equal(actual, expected, path);
    if (Array.isArray(expected)) return assert.deepEqual(actual, expected, path);
    for (const [name, value] of Object.entries(expected)) {
      if (name === "$absent") for (const absent of value) assert.equal(actual[absent], undefined, `${path}.${absent}`);
      else this.match(value, actual[name], `${path}.${name}`);
    }
  }
}
