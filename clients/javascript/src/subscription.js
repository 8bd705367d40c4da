import { agentOf, stampOf } from "./clock.js";
import { Delivery } from "./delivery.js";
import { StarlingError } from "./errors.js";
import { Pattern } from "./pattern.js";
import { Replica } from "./replica.js";

/** One subscription: its replica, its cursor, and who is told. */
export class Subscription {
  /** Where to go on from after a break. */
  cursor;
  /** Whether everything that there was when it began has come. */
  isSynced = false;
  error;
  /** Whether what is held is too old to go on from. */
  mustReplace = false;
  /** When to ask again, after the server refused for the time being. */
  retryAt = Infinity;
  #settled;

  /**
   * @param {{id: string, pattern: string, callback?: Function, snapshot: boolean, echo: boolean}} options
   * @param {{pendingWrite: Function, isOwn: Function, failed: Function}} client
   */
  constructor({ id, pattern, callback, snapshot = true, echo = true, since }, client) {
    this.id = id;
    this.pattern = new Pattern(pattern);
    this.snapshot = snapshot;
    this.echo = echo;
    this.cursor = since;
    this.delivery = new Delivery(callback, client.failed);
    this.client = client;
    this.replica = new Replica(client.pendingWrite, (key, register, cause) => this.#changed(key, register, cause));
    this.synced = new Promise((resolve, reject) => (this.#settled = { resolve, reject }));
    this.synced.catch(() => {});
  }

  #changed(key, register, cause) {
    if (register === undefined) {
      this.delivery.push(key, { key, value: undefined, deleted: true, cause, isPending: false });
      return true;
    }
    if (!this.echo && this.client.isOwn(register)) return false;
    this.delivery.push(key, describe(register, this.client.pendingWrite(key) === register, cause));
    return true;
  }

  /** What to send, to begin or to go on. */
  request() {
    return {
      type: "subscribe",
      id: this.id,
      pattern: this.pattern.text,
      cursors: true,
      ...(this.cursor !== undefined && { since: this.cursor }),
      // Own writes are kept from the subscriber here: the replica needs them.
      ...(!this.snapshot && !this.mustReplace && { snapshot: false }),
    };
  }

  subscribed(message) {
    this.retryAt = Infinity;
    // Without a cursor to go on from, what comes is everything there is.
    this.replica.begin(message.replace === true || this.mustReplace || (this.cursor === undefined && this.snapshot));
  }

  /** The server has told everything up to a cursor. */
  reached(cursor) {
    this.cursor = cursor;
    // While catching up, pages come in an order of their own.
    if (this.isSynced) this.replica.cursorPassed();
  }

  finishedCatchingUp(cursor) {
    this.replica.synced();
    this.isSynced = true;
    this.mustReplace = false;
    this.reached(cursor);
    this.#settled.resolve();
  }

  /** A broadcast that is seen and not kept. */
  transient(update) {
    this.delivery.push(`\u0000${update.key}`, { ...update, isTransient: true, isPending: false });
  }

  /** The server cannot tell what has changed since: everything is to be sent again, and takes the place of what is held. */
  startAnew() {
    this.disconnected();
    this.cursor = undefined;
    this.mustReplace = true;
  }

  /** The connection is gone; what is held stays, and so does the cursor. */
  disconnected() {
    this.isSynced = false;
    this.retryAt = Infinity;
  }

  end(error) {
    this.error = error;
    this.delivery.close(error);
    this.#settled.reject(error ?? new StarlingError("closed", `${this.pattern.text} was unsubscribed from`));
  }
}

/** A register as users get it. */
export function describe(register, isPending = false, cause = undefined) {
  return {
    key: register.key,
    value: register.value,
    deleted: register.deleted,
    version: register.version,
    timestamp: stampOf(register.version).milliseconds,
    agent: agentOf(register.version),
    revision: register.revision,
    expiresAt: register.expiresAt,
    metadata: register.metadata,
    session: register.session,
    cause: register.cause ?? cause,
    isPending,
  };
}
