import { StarlingError } from "./errors.js";
import { Register } from "./register.js";
import { Subscription, describe } from "./subscription.js";

/** All subscriptions of a client: who is told of what, and what is to be seen of a key. */
export class Subscriptions {
  #engine;
  #outbox;
  #all = new Map();
  #nextID = 1;

  constructor(engine, outbox) {
    this.#engine = engine;
    this.#outbox = outbox;
  }

  add(pattern, callback, options) {
    const subscription = new Subscription(
      { ...options, id: `s${this.#nextID++}`, pattern, callback },
      {
        pendingWrite: (key) => this.#outbox.newest(key),
        isOwn: (register) => this.#engine.isOwn(register),
        failed: (error) => this.#engine.log("error", `the subscriber to ${pattern} threw: ${error?.stack ?? error}`),
      },
    );
    this.#all.set(subscription.id, subscription);
    for (const { record } of this.#outbox) {
      if (subscription.pattern.matches(record.key)) subscription.replica.touch(record.key);
    }
    return subscription;
  }

  find(id) {
    return this.#all.get(id);
  }

  remove(subscription) {
    return this.#all.delete(subscription.id);
  }

  [Symbol.iterator]() {
    return this.#all.values();
  }

  get areSynced() {
    for (const subscription of this.#all.values()) if (!subscription.isSynced) return false;
    return true;
  }

  *#matching(key) {
    for (const subscription of this.#all.values()) if (subscription.pattern.matches(key)) yield subscription;
  }

  /** Takes a register that is in the database into the replicas. */
  confirm(register) {
    for (const { replica } of this.#matching(register.key)) replica.apply(register);
  }

  /** A write of ours to a key was made, or is over. */
  touch(key, cause) {
    for (const { replica } of this.#matching(key)) replica.touch(key, cause);
  }

  /** A broadcast that is seen and not kept. */
  transient(register) {
    for (const subscription of this.#matching(register.key)) subscription.transient(describe(register));
  }

  /** The greatest register that any subscription, or a write on its way, has for a key; undefined where reads see none. */
  read(key) {
    let register = this.#outbox.newest(key);
    for (const { replica } of this.#matching(key)) {
      const other = replica.get(key);
      if (other && (register === undefined || Register.compare(other, register) > 0)) register = other;
    }
    return register?.isVisible(this.#engine.serverNow()) ? register : undefined;
  }

  /** What the server has against a subscription. @returns whether it is to be sent again at once */
  refused(subscription, message) {
    if (message.code === "resync_required") {
      subscription.startAnew();
      return true;
    }
    if (message.retry) {
      subscription.retryAt = this.#engine.now() + (message.retry_after_ms ?? 0) + this.#engine.random() * 2_000;
    } else if (message.code !== "unknown_subscription") {
      this.remove(subscription);
      this.#engine.log("error", `cannot subscribe to ${subscription.pattern.text}: ${message.message}`);
      subscription.end(new StarlingError(message.code, message.message, message));
    }
    return false;
  }

  disconnected() {
    for (const subscription of this.#all.values()) subscription.disconnected();
  }

  close() {
    for (const subscription of this.#all.values()) subscription.end(undefined);
    this.#all.clear();
  }
}
