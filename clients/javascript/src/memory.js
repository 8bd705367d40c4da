import { StarlingError } from "./errors.js";

/** What `system` and `orchestrator` remember under these is the register of that name itself (protocol/README.md, Memory and knowledge). */
const SHARED = /^(task:[^:]+:(status|breakdown)|execution:[^:]+:progress|swarm:[^:]+:config)$/;
const SHARERS = new Set(["system", "orchestrator"]);

const escape = (name) => name.replaceAll("%", "%25").replaceAll(":", "%3A");

/** The key of the register that a memory is. */
export function memoryKey(agent, name) {
  if (SHARERS.has(agent) && SHARED.test(name)) return name;
  return `memory:${escape(agent)}:${name}`;
}

function checkName(name) {
  if (typeof name !== "string" || name === "") throw new StarlingError("bad_key", `a memory has a name of 1 byte or more; ${JSON.stringify(name)} is none`);
}

/** What an answer, or an update, says of a memory. */
function remembered(register) {
  const { starling = {}, ...metadata } = register.metadata ?? {};
  return {
    value: register.value,
    version: register.version,
    timestamp: Math.floor(register.timestamp / 1000),
    createdAt: starling.created_at || undefined,
    tags: starling.tags ?? [],
    metadata,
    ...(register.expires_at === undefined ? {} : { expiresAt: register.expires_at }),
    ...(register.session === undefined ? {} : { session: register.session }),
  };
}

/** What agents remember: docs/memory.md says what is promised. Of the client's own agent, unless another is named. */
export class Memory {
  #client;

  /** @internal Use `client.memory`. */
  constructor(client) {
    this.#client = client;
  }

  #key(name, agent) {
    checkName(name);
    return memoryKey(agent ?? this.#client.agent, name);
  }

  /**
   * Stores something; what was there under the same name is replaced. A write like any other: it is seen here at once, and queued while there is no server.
   *
   * @param {{agent?: string, ttl?: number, tags?: string[], refreshOnRead?: boolean, priority?: string, index?: boolean, metadata?: object,
   *   session?: string, expect?: string | null, timeout?: number}} [options] `ttl` in seconds; `refreshOnRead`: it lives for `ttl` again when
   *   `retrieve` reads it; `index`: false: no search finds it; `expect`: the version that has to be in place, null for none
   * @returns a promise of what became of it, as `broadcast` gives
   */
  store(name, value, { agent, ttl, tags = [], refreshOnRead = false, priority, index = true, metadata = {}, ...others } = {}) {
    // The time of creation stands first, and 0 asks the server for it.
    const starling = {
      created_at: 0,
      ...(ttl === undefined ? {} : { ttl }),
      ...(refreshOnRead ? { refresh_on_read: true } : {}),
      ...(tags.length === 0 ? {} : { tags }),
      ...(priority === undefined ? {} : { priority }),
      ...(index ? {} : { index: false }),
    };
    if (!Array.isArray(tags)) return Promise.reject(new StarlingError("bad_option", "tags is an array of texts"));
    if (refreshOnRead && ttl === undefined) return Promise.reject(new StarlingError("bad_option", "refreshOnRead needs ttl: for how many seconds it lives on when it is read"));
    try {
      return this.#client.broadcast(this.#key(name, agent), value, { ...others, ttl, metadata: { starling, ...metadata } });
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * What is remembered under a name; undefined: nothing. Without a connection it is what the replica has.
   *
   * @param {{agent?: string, timeout?: number}} [options]
   * @returns {Promise<{value: unknown, version: string, timestamp: number, createdAt?: number, tags: string[], metadata: object, expiresAt?: number,
   *   session?: string} | undefined>}
   */
  async retrieve(name, { agent, timeout } = {}) {
    const key = this.#key(name, agent);
    try {
      const answer = await this.#client.request("memory.get", { agent: agent ?? this.#client.agent, key: name }, { timeout });
      return answer.found ? remembered(answer) : undefined;
    } catch (error) {
      if (error.code !== "offline") throw error;
      const entry = this.#client.entry(key);
      if (entry === undefined || entry.deleted) return undefined;
      return remembered({ ...entry, expires_at: entry.expiresAt });
    }
  }

  /** What is remembered under names that begin so, in their order: an array of `{name, …}`. */
  async list(prefix = "", { agent, timeout } = {}) {
    const whose = agent ?? this.#client.agent;
    const start = memoryKey(whose, "").length;
    const found = [];
    let after;
    do {
      const answer = await this.#client.request("memory.list", { agent: whose, prefix, limit: 500, after }, { timeout });
      for (const register of answer.registers) found.push({ name: register.key.slice(start), ...remembered(register) });
      after = answer.next;
    } while (after !== undefined);
    return found;
  }

  /** Forgets what is remembered under a name. @returns a promise of what became of it, as `delete` gives */
  delete(name, { agent, ...options } = {}) {
    try {
      return this.#client.delete(this.#key(name, agent), options);
    } catch (error) {
      return Promise.reject(error);
    }
  }
}

/** What is known, whoever said it. */
export class Knowledge {
  #client;

  /** @internal Use `client.knowledge`. */
  constructor(client) {
    this.#client = client;
  }

  /**
   * Says what this agent knows. The same text twice is one knowledge.
   *
   * @param {{knowledge?: string, tags?: string[], source?: string, confidence?: number, ttl?: number, supersedes?: string, timeout?: number}} [options]
   * @returns {Promise<string>} its name
   */
  async add(topic, content, { timeout, ...fields } = {}) {
    return (await this.#client.request("knowledge.put", { topic, content, ...fields }, { timeout })).knowledge;
  }

  /** Forgets what is known under a name, whoever said it. @returns a promise of what became of it, as `delete` gives */
  delete(knowledge, options) {
    return this.#client.delete(`knowledge:${escape(knowledge)}`, options);
  }

  /** What is known under a name, how sure it is, and how often it was found; undefined: nothing. */
  async get(knowledge, { timeout } = {}) {
    const answer = await this.#client.request("knowledge.get", { knowledge }, { timeout });
    if (!answer.found) return undefined;
    return { ...answer.value, confidence: answer.confidence, usage_count: answer.usage_count, version: answer.version };
  }

  /** What is known of a topic, or under a tag. */
  async list({ topic, tag, timeout } = {}) {
    const found = [];
    let after;
    do {
      const answer = await this.#client.request("knowledge.list", { topic, tag, after }, { timeout });
      found.push(...answer.results);
      after = answer.next;
    } while (after !== undefined);
    return found;
  }
}
