// The classes of "Turso + Claude Flow" by their own names and methods, each on what this server has: for code that was written to them.
import { connect } from "./index.js";
import { Swarm } from "./swarm.js";

/** How long progress is kept, in seconds. */
const PROGRESS_LIFE = 3600;

const parse = (dependencies) => (typeof dependencies === "string" ? JSON.parse(dependencies) : dependencies ?? []);
const random = () => [...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
const escape = (name) => name.replaceAll("%", "%25").replaceAll(":", "%3A");

/** What agents remember, under `system` unless an agent is named. */
export class TursoMemoryAdapter {
  #client;
  #sessionId;

  /** @param client of `connect` @param {{sessionId?: string}} [options] the session that is meant where none is named */
  constructor(client, { sessionId } = {}) {
    this.#client = client;
    this.#sessionId = sessionId;
  }

  /**
   * Stores something; what was there under the same key is replaced. With `priority: "high"` it is on the server's disk when this returns;
   * else it waits in the client's outbox, and is stored when there is a server.
   *
   * @returns the key
   */
  async store(key, value, { agentId = "system", sessionId = this.#sessionId, metadata, ttl, priority } = {}) {
    const options = { agent: agentId, session: sessionId, metadata: metadata ?? {}, ttl: ttl ?? undefined, priority };
    const stored = this.#client.memory.store(key, value, options);
    // What is wrong with it by itself is said at once.
    if (priority === "high") await stored;
    else await Promise.race([stored, new Promise((resolve) => setTimeout(resolve, 0))]);
    return key;
  }

  /** @returns `{value, metadata, timestamp}`, the time in seconds; null: nothing, or it is over */
  async retrieve(key, { agentId = "system" } = {}) {
    const found = await this.#client.memory.retrieve(key, { agent: agentId });
    return found === undefined ? null : { value: found.value, metadata: found.metadata, timestamp: found.timestamp };
  }

  /** What is known that has these words, the surest first, then what was found most often; each time it is found is counted. */
  async search(query, { limit = 10 } = {}) {
    const { results } = await this.#client.search(query, { in: ["knowledge"], order: "seed", limit });
    return results.map(({ knowledge, topic, content, tags, confidence, usage_count }) => ({ id: knowledge, topic, content, tags, confidence, usage_count }));
  }

  /** Waits until everything that was stored is on the server. */
  async syncToEdges() {
    await this.#client.drained();
  }

  /** The URL of the edge in use: the nearest healthy one. */
  getNearestEdge() {
    return this.#client.edge;
  }
}

/**
 * A swarm of agents. What a swarm cannot know (which agents to spawn, how to take a task apart, who gets what) are functions of the caller; nothing is
 * pretended.
 */
export class TursoSwarmCoordinator {
  #client;
  #memory;
  #options;
  #swarm;
  #opened = [];

  /**
   * @param client of `connect`
   * @param {{spawnAgents?: Function, analyzeTask?: Function, distributeWork?: Function, connectAs?: (agentId: string) => Promise<object>}} [options]
   *   `spawnAgents(config)` gives agents with an `id`; `distributeWork(analysis, task)` gives assignments: `{id, agentId, input, priority, dependencies}`;
   *   `connectAs` opens a client under an agent's name, by which it is a member and present until `close`; without it agents join by themselves
   */
  constructor(client, options = {}) {
    this.#client = client;
    this.#memory = new TursoMemoryAdapter(client);
    this.#options = { spawnAgents: () => [], analyzeTask: () => ({}), distributeWork: (_, task) => [{ id: task.id, input: task }], ...options };
  }

  get swarmId() {
    return this.#swarm?.name;
  }

  #key(task) {
    return `swarm:${escape(this.swarmId)}:task:${escape(task)}`;
  }

  async initializeSwarm(config = {}) {
    this.#swarm = new Swarm(this.#client, config.swarmId ?? `swarm-${random()}`);
    const { topology = "mesh", coordinator, maxAgents } = config;
    await this.#swarm.init({ topology, ...(coordinator ? { coordinator } : {}), ...(maxAgents ? { max_agents: maxAgents } : {}) });
    const agents = await this.#options.spawnAgents(config);
    for (const agent of agents) await this.registerAgent(agent);
    return { swarmId: this.swarmId, agents: agents.map((agent) => agent.id), topology };
  }

  /** Makes an agent a member, on a connection of its own. */
  async registerAgent(agent) {
    if (!this.#options.connectAs) return;
    const client = await this.#options.connectAs(agent.id);
    this.#opened.push(client);
    await new Swarm(client, this.swarmId).join({ role: agent.role ?? agent.type, capabilities: agent.capabilities ?? [] });
  }

  /** Submits what a task comes to, all or nothing, and keeps its breakdown. @returns what `monitorExecution` does */
  async orchestrateTask(task) {
    const analysis = await this.#options.analyzeTask(task);
    const assignments = await this.#options.distributeWork(analysis, task);
    await this.#swarm.submit(
      assignments.map(({ id, taskId, agentId, input, priority, dependencies }) => ({
        id: id ?? taskId,
        input: input ?? null,
        ...(agentId ? { agent_id: agentId } : {}),
        ...(priority === undefined ? {} : { priority }),
        dependencies: parse(dependencies),
      })),
    );
    await this.#memory.store(`task:${task.id}:breakdown`, assignments, { agentId: "orchestrator", metadata: { complexity: analysis.complexity ?? null } });
    return this.monitorExecution(assignments);
  }

  /** The agents that are there, with the names of their tasks. */
  async getActiveAgents() {
    return (await this.#swarm.status()).agents.filter((agent) => agent.present).map((agent) => ({ id: agent.agent_id, role: agent.role, tasks: agent.tasks }));
  }

  /** "working", "idle", or "absent", as it is now. */
  async checkAgentStatus(agentId) {
    const agent = (await this.#swarm.status()).agents.find((one) => one.agent_id === agentId);
    if (!agent?.present) return "absent";
    return agent.tasks.length > 0 ? "working" : "idle";
  }

  /** The row of the task that an agent is at; null: none. */
  async getAgentTask(agentId) {
    const agent = (await this.#swarm.status()).agents.find((one) => one.agent_id === agentId);
    if (!agent || agent.tasks.length === 0) return null;
    return (await this.#client.fetch(this.#key(agent.tasks[0])))?.value ?? null;
  }

  /** Whether all that a task depends on is completed. */
  async checkDependencies(task) {
    for (const dependency of parse(task.dependencies)) {
      const row = (await this.#client.fetch(this.#key(dependency)))?.value;
      const status = row ? row.status : (await this.#memory.retrieve(`task:${dependency}:status`))?.value;
      if (status !== "completed") return false;
    }
    return true;
  }

  /** Lays a task aside that an agent has, until somebody resumes it. */
  async parkTask(task, reason = "its dependencies are not completed") {
    await this.#swarm.request("task.park", { task: task.task_id, fence: task.fence, reason });
  }

  /** Takes the next task for this client's own agent. What others do is theirs to say, and is seen in `checkAgentStatus`. */
  async updateCoordination(agentId, status) {
    if (status !== "working" || agentId !== this.#client.agent) return undefined;
    return this.#swarm.next();
  }

  /** One pass over the agents. Tasks are handed out, and wait for each other, without it. */
  async coordinateAgents() {
    for (const agent of await this.getActiveAgents()) {
      const task = await this.getAgentTask(agent.id);
      if (task && !(await this.checkDependencies(task))) await this.parkTask(task);
    }
  }

  /** Tells of progress, and keeps it as `execution:<task>:progress` for an hour. @returns `{on("progress", callback), stop()}` */
  monitorExecution(assignments) {
    const tasks = new Set(assignments.map(({ id, taskId }) => id ?? taskId));
    const callbacks = [];
    const start = this.#key("").length;
    const stop = this.#client.subscribe(`${this.#key("").replace(/[*?\\]/g, "\\$&")}*:progress`, (update) => {
      const taskId = update.key.slice(start, -":progress".length).replaceAll("%3A", ":").replaceAll("%25", "%");
      if (update.deleted || !tasks.has(taskId)) return;
      const progress = { ...update.value, taskId };
      this.#memory.store(`execution:${taskId}:progress`, progress, { ttl: PROGRESS_LIFE }).catch(() => {});
      for (const callback of callbacks) callback(progress);
    });
    const monitor = {
      on(event, callback) {
        if (event === "progress") callbacks.push(callback);
        return monitor;
      },
      stop,
    };
    return monitor;
  }

  /** Ends the connections of the agents that it has registered. */
  async close() {
    for (const client of this.#opened.splice(0)) await client.close();
  }
}

/** Patterns, and values for all who have subscribed to them. */
export class TursoRealtimeSync {
  #client;

  /** @param {string} url of a server, with or without `wss://` and `/sync` @param {string} [token] its credentials @param {object} [options] of `connect` */
  constructor(url, token, options = {}) {
    const whole = /^wss?:/.test(url) ? url : `wss://${url}/sync`;
    this.#client = connect(whole, { ...(token ? { token } : {}), ...options });
  }

  /** Calls back with each register that matches, and each change. @returns {Promise<() => void>} ends it */
  async subscribe(pattern, callback) {
    return (await this.#client).subscribe(pattern, callback);
  }

  async broadcast(key, value) {
    return (await this.#client).broadcast(key, value);
  }

  async close() {
    await (await this.#client).close();
  }
}

/** How long a hook waits for an answer, in milliseconds. */
const HOOK_TIMEOUT = 1_000;
/** How many patterns are followed at once. */
const FOLLOWED = 64;

/**
 * Reads from memory what has been read before, and is told when it changes: what was a cache with times to live is a replica. What somebody has written a
 * moment ago is there, and nothing is stale.
 */
export class TursoQueryOptimizer {
  #client;
  #maximum;
  /** The subscription to each pattern, the one that was used last at the end. */
  #followed = new Map();

  /** @param client of `connect`, with all its edges @param {{maximum?: number}} [options] how many patterns are followed; the one that was not used for longest ends */
  constructor(client, { maximum = FOLLOWED } = {}) {
    this.#client = client;
    this.#maximum = maximum;
  }

  /**
   * @param {{key: string} | {pattern: string} | {search: string, limit?: number} & Record<string, any>} query a `ttl` in it is of no use: what is read is what
   *   there is
   * @returns the value of a key (undefined: none), `{key, value, …}` of all that match a pattern, or what a search finds
   */
  async optimizedQuery(query) {
    if (query.search !== undefined) return this.executeWithFallback(query);
    const pattern = query.pattern ?? query.key.replace(/[*?\\]/g, "\\$&");
    const subscription = this.#follow(pattern);
    await subscription.synced;
    return query.key === undefined ? subscription.list() : subscription.get(query.key);
  }

  #follow(pattern) {
    const subscription = this.#followed.get(pattern) ?? this.#client.subscribe(pattern, () => {});
    this.#followed.delete(pattern);
    this.#followed.set(pattern, subscription);
    for (const [oldest, unsubscribe] of this.#followed) {
      if (this.#followed.size <= this.#maximum) break;
      this.#followed.delete(oldest);
      unsubscribe();
    }
    return subscription;
  }

  /** Asks a server; where the nearest edge fails the client goes to the next by itself. @throws "All edges failed" */
  async executeWithFallback({ search, limit, ttl, ...fields }) {
    try {
      return (await this.#client.search(search, { ...(limit ? { limit } : {}), ...fields })).results;
    } catch (error) {
      if (error.code !== "offline") throw error;
      throw new Error("All edges failed", { cause: error });
    }
  }

  /** The URL of the edge in use: the nearest healthy one. */
  selectOptimalEdge() {
    return this.#client.edge;
  }

  /** How long a message takes to each edge and back, in milliseconds; undefined: nobody knows yet. */
  measureEdgeLatencies() {
    return new Map(this.#client.edges.map(({ url, roundTrip }) => [url, roundTrip]));
  }

  /** Follows nothing any more. */
  close() {
    for (const unsubscribe of this.#followed.values()) unsubscribe();
    this.#followed.clear();
  }
}

/**
 * The hooks `pre-task`, `post-edit`, `post-task` and `session-end`, each a function of the seed's context: `{sessionId, agentId, taskId, taskType, file, changes, …}`.
 * `pre-task` puts `previousContext` into it. None of them throws: what goes wrong is told to `onProblem`, and the work goes on.
 *
 * @param client of `connect` @param {{onProblem?: (hook: string, problem: unknown) => void}} [options]
 */
export function createHooks(client, { onProblem = () => {} } = {}) {
  const tell = async (event, context) => {
    try {
      const { previousContext: _, ...input } = context;
      const answer = await client.request("hook", { event, input, ...(context.agentId ? { agent: context.agentId } : {}) }, { timeout: HOOK_TIMEOUT });
      if (answer.degraded) onProblem(event, answer.degraded);
      return answer.output;
    } catch (problem) {
      onProblem(event, problem);
      return {};
    }
  };
  return {
    "pre-task": async (context) => {
      context.previousContext = (await tell("pre-task", context)).previousContext ?? [];
    },
    "post-edit": async (context) => void (await tell("post-edit", context)),
    "post-task": async (context) => void (await tell("post-task", context)),
    "session-end": async (context) => void (await tell("session-end", context)),
  };
}
