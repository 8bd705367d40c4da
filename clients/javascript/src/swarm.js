import { StarlingError } from "./errors.js";
import { after, pause } from "./patience.js";

/** What is asked again: there is no server for the moment, or it has too much to do. */
const PASSING = new Set(["offline", "outcome_unknown", "timeout", "overloaded", "storage_failed", "rate_limited", "shutting_down", "too_many_waiters"]);
/** How long to rest before something is asked again, at first and at most, in milliseconds. */
const REST = 200;
const LONGEST_REST = 5_000;
/** How long to rest where there is no such swarm, in milliseconds. */
const NO_SWARM = 1_000;
/** How long one `task.next` of the loop waits, in seconds. */
const WAIT = 30;
/** How long an answer may take beside what it waits for, in milliseconds. */
const PATIENCE = 10_000;

const isLoss = (error) => error.code === "stale_fence" || error.code === "absent";

function makeOp() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** A task that was handed to this agent. It is its own until it is completed, or until `isLost`. */
export class Task {
  #swarm;
  #lost = new AbortController();
  #timer;

  constructor(swarm, answer) {
    this.#swarm = swarm;
    this.row = answer.task;
    this.id = answer.task.task_id;
    this.fence = answer.fence;
    this.claim = answer.claim;
    this.input = answer.input;
  }

  /** Whether somebody else has the task by now, or will: what is done about it counts for nothing. */
  get isLost() {
    return this.#lost.signal.aborted;
  }

  /** Is aborted when the task is lost. */
  get signal() {
    return this.#lost.signal;
  }

  /** Says how far it is, and renews the lease. The loop renews it by itself, too. */
  async progress(value) {
    await this.#tell("task.progress", value === undefined ? {} : { value });
  }

  async complete(result = null) {
    await this.#tell("task.complete", { result });
  }

  /** @param {{retry?: boolean}} [options] `retry`: somebody may try again, as long as the task has attempts left */
  async fail(error = null, { retry = false } = {}) {
    await this.#tell("task.fail", { error, retry });
  }

  /** Gives it back; the attempt does not count. */
  async release() {
    await this.#tell("task.release", {});
  }

  /** Lays it aside until somebody has it resumed. */
  async park(reason) {
    await this.#tell("task.park", { reason });
  }

  async #tell(type, fields) {
    try {
      await this.#swarm.insist(type, { task: this.id, fence: this.fence, ...fields });
    } catch (error) {
      if (isLoss(error)) this.#lost.abort(error);
      throw error;
    }
  }

  /** Renews the lease until it is stopped, or the task is lost. */
  keep() {
    this.#timer = after(((this.row.lease ?? 60) * 1_000) / 3, async () => {
      try {
        await this.#swarm.request("task.progress", { task: this.id, fence: this.fence });
      } catch (error) {
        if (isLoss(error)) return this.#lost.abort(error);
      }
      if (this.#timer !== undefined) this.keep();
    });
  }

  stopKeeping() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}

/** A swarm of agents that share tasks: docs/swarms.md says what is promised. */
export class Swarm {
  #client;

  /** @param {import("./index.js").Client} client whose agent this is @param {string} name the swarm's */
  constructor(client, name) {
    this.#client = client;
    this.name = name;
  }

  /** Makes one call (protocol/README.md, Swarms). @throws {StarlingError} in the promise: what the server has against it */
  async request(type, fields = {}, { timeout = PATIENCE } = {}) {
    return this.#client.request(type, { swarm: this.name, ...fields }, { timeout });
  }

  /** Makes a call that does no harm when it arrives twice, again and again while there is no server. */
  async insist(type, fields, options) {
    for (let rest = REST; ; rest = Math.min(2 * rest, LONGEST_REST)) {
      try {
        return await this.request(type, fields, options);
      } catch (error) {
        if (!PASSING.has(error.code) || this.#client.state === "closed") throw error;
        await pause(Math.max(rest, error.details?.retry_after_ms ?? 0));
      }
    }
  }

  /** Makes the swarm, if it is not there: `topology`, `lease` and so on are the call's fields. */
  async init(settings = {}) {
    return this.insist("swarm.init", settings);
  }

  /** Makes this agent a member, and present until it disconnects; it has to join again after that. */
  async join(fields = {}) {
    return this.request("swarm.join", fields);
  }

  /** What the swarm is doing, counted now. */
  async status() {
    return this.request("swarm.status");
  }

  /**
   * Makes tasks, all or none; sent again until it is known that they are there, and made once.
   *
   * @param {{op?: string}} [options] `op` names the submission, to send it again from another process
   * @returns {Promise<string[]>} their names
   */
  async submit(tasks, { op = makeOp() } = {}) {
    return (await this.insist("task.submit", { tasks, op })).ids;
  }

  /**
   * Takes the next task.
   *
   * @param {{wait?: number, lease?: number, capabilities?: string[]}} [options] `wait` for so many seconds, 60 at most; `lease`: how long it
   *   is this agent's unless it is renewed, in seconds
   * @returns {Promise<Task | undefined>}
   */
  async next({ wait = 0, lease, capabilities = [] } = {}) {
    const fields = { wait, capabilities, op: makeOp(), ...(lease === undefined ? {} : { lease }) };
    const answer = await this.insist("task.next", fields, { timeout: wait * 1_000 + PATIENCE });
    return answer.type === "task" ? new Task(this, answer) : undefined;
  }

  /** Sends a message to an agent, or to all (null). @returns {Promise<string>} its key */
  async send(to, body, { kind, op = makeOp() } = {}) {
    const whom = to === null ? { board: true } : { to };
    return (await this.insist("message.send", { ...whom, body, kind, op })).key;
  }

  /**
   * Works on tasks, one after the other, until `signal` is aborted; then it gives back the one that it has. It lives on when the server does not
   * for a while. What `work` returns is the task's result; what it throws is its failure, and somebody may try again. Should the task be lost
   * meanwhile, `task.signal` is aborted, and what `work` comes to counts for nothing.
   *
   * @param {(task: Task) => unknown} work does a task
   * @param {{lease?: number, capabilities?: string[], signal?: AbortSignal, wait?: number}} [options]
   */
  async work(work, { lease, capabilities, signal, wait = WAIT } = {}) {
    let isNew = true;
    const stop = this.#client.onState((state) => (isNew ||= state !== "live"));
    try {
      await this.#workOn(work, { lease, capabilities, signal, wait }, async () => {
        if (isNew && (await this.#isPresent(capabilities))) isNew = false;
      }, () => (isNew = true));
    } finally {
      stop();
    }
  }

  async #workOn(work, { lease, capabilities, signal, wait }, arrive, miss) {
    let isMissed = false;
    while (!signal?.aborted && this.#client.state !== "closed") {
      await arrive();
      let task;
      try {
        task = await this.next({ wait, lease, capabilities });
      } catch (error) {
        if (error.code !== "absent") throw error;
        // Nobody has made the swarm yet, or it has ended.
        if (!isMissed) this.#client.warn(`there is no swarm ${this.name}; waiting until somebody makes it`);
        isMissed = true;
        miss();
        await pause(NO_SWARM);
        continue;
      }
      isMissed = false;
      if (task === undefined) continue;
      if (signal?.aborted) return this.#giveBack(task);
      await this.#do(task, work, signal);
    }
  }

  async #do(task, work, signal) {
    task.keep();
    const over = new AbortController();
    const ends = new Promise((resolve) => {
      for (const each of [task.signal, signal]) each?.addEventListener("abort", resolve, { signal: over.signal });
    });
    try {
      let error;
      const working = (async () => work(task))();
      const result = await Promise.race([working.catch((thrown) => (error = thrown ?? new Error("no reason"))), ends]);
      if (task.isLost) return;
      if (signal?.aborted) return await this.#giveBack(task);
      if (error === undefined) await this.#complete(task, result);
      else await task.fail(`${error.name ?? "Error"}: ${error.message ?? error}`, { retry: true });
    } catch (error) {
      // It was done too late: somebody else has it.
      if (!isLoss(error)) throw error;
    } finally {
      over.abort();
      task.stopKeeping();
    }
  }

  async #complete(task, result) {
    try {
      await task.complete(result);
    } catch (error) {
      if (error.code !== "bad_value" && error.code !== "too_large") throw error;
      await task.fail(`its result cannot be kept: ${error.message}`);
    }
  }

  /** Joins on a new connection, so that tasks can be meant for this agent; who may not works all the same. */
  async #isPresent(capabilities) {
    try {
      await this.join({ role: "worker", capabilities });
    } catch (error) {
      return !PASSING.has(error.code);
    }
    return true;
  }

  async #giveBack(task) {
    try {
      await this.request("task.release", { task: task.id, fence: task.fence }, { timeout: 2_000 });
    } catch (error) {
      // It comes back when its lease is over.
      if (!(error instanceof StarlingError)) throw error;
    }
  }
}
