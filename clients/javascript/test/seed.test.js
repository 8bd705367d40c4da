import assert from "node:assert/strict";
import { test } from "node:test";
import { Swarm, connect } from "../src/index.js";
import { TursoMemoryAdapter, TursoQueryOptimizer, TursoRealtimeSync, TursoSwarmCoordinator, createHooks } from "../src/seed.js";
import { Server, WebSocket, hasServer, until } from "./support.js";

/** Code that was written to the classes of "Turso + Claude Flow", on a real server. */
function withServer(name, body) {
  test(name, { skip: !hasServer && "no server is built" }, async () => {
    const server = await Server.start();
    const clients = [];
    const open = async (agent) => {
      clients.push(await connect(server.url, { WebSocket, log: () => {}, agent }));
      return clients.at(-1);
    };
    try {
      await body({ server, open });
    } finally {
      for (const client of clients) await client.close();
      await server.stop();
    }
  });
}

withServer("the memory adapter stores, replaces, retrieves, forgets in time, and searches what is known", async ({ open }) => {
  const client = await open("a");
  const memory = new TursoMemoryAdapter(client, { sessionId: "s1" });
  assert.equal(await memory.store("key", { a: 1 }, { priority: "high", metadata: { m: 1 } }), "key");
  await memory.store("key", { a: 2 }, { priority: "high", metadata: { m: 2 } });
  const found = await memory.retrieve("key");
  assert.deepEqual([found.value, found.metadata], [{ a: 2 }, { m: 2 }]);
  assert.ok(Math.abs(found.timestamp - Date.now() / 1000) < 60);
  assert.equal(await memory.retrieve("key", { agentId: "other" }), null);
  assert.equal((await client.fetch("memory:system:key")).session, "s1");
  await memory.store("brief", 1, { ttl: 0.05, priority: "high" });
  await until(async () => (await memory.retrieve("brief")) === null);
  await memory.store("later", 1);
  await memory.syncToEdges();
  assert.equal((await memory.retrieve("later")).value, 1);
  await assert.rejects(memory.store("", 1), { code: "bad_key" });
  for (const confidence of [0.2, 0.9]) await client.knowledge.add(`topic ${confidence}`, "same words", { confidence });
  assert.deepEqual((await memory.search("words")).map((row) => [row.topic, row.confidence]), [["topic 0.9", 0.9], ["topic 0.2", 0.2]]);
  assert.equal((await memory.search("words", { limit: 1 }))[0].usage_count, 1);
  assert.equal(memory.getNearestEdge(), client.edge);
});

withServer("the coordinator makes a swarm, takes a task apart, and tells of progress; subscribers to task:* see it all", async ({ server, open }) => {
  const client = await open("planner");
  const seen = [];
  const sync = new TursoRealtimeSync(server.url, undefined, { WebSocket, log: () => {}, agent: "watcher" });
  const unsubscribe = await sync.subscribe("task:*", (update) => seen.push([update.key, update.value]));
  const coordinator = new TursoSwarmCoordinator(client, {
    spawnAgents: () => [{ id: "ada", role: "coder" }, { id: "bob" }],
    analyzeTask: () => ({ complexity: 2 }),
    distributeWork: () => [{ id: "t1", input: "first" }, { id: "t2", dependencies: '["t1"]' }],
    connectAs: open,
  });
  const made = await coordinator.initializeSwarm({ topology: "mesh" });
  assert.deepEqual([made.agents, made.topology], [["ada", "bob"], "mesh"]);
  assert.deepEqual((await coordinator.getActiveAgents()).map((agent) => agent.id).sort(), ["ada", "bob"]);
  const progress = [];
  const monitor = (await coordinator.orchestrateTask({ id: "big" })).on("progress", (update) => progress.push(update));
  assert.equal((await client.fetch("task:big:breakdown")).value.length, 2);
  assert.equal(await coordinator.checkDependencies({ dependencies: '["t1"]' }), false);
  const worker = new Swarm(await open("ada"), made.swarmId);
  const task = await worker.next();
  assert.equal(task.id, "t1");
  assert.equal(await coordinator.checkAgentStatus("ada"), "working");
  assert.equal((await coordinator.getAgentTask("ada")).task_id, "t1");
  await coordinator.coordinateAgents();
  await task.progress({ percent: 50 });
  await until(() => progress.some((update) => update.taskId === "t1" && update.percent === 50));
  await until(async () => (await client.fetch("execution:t1:progress"))?.value?.percent === 50);
  await task.complete("done");
  assert.equal(await coordinator.checkDependencies({ dependencies: ["t1"] }), true);
  await until(() => seen.some(([key, value]) => key === "task:t1:status" && value === "completed"));
  assert.equal((await new TursoMemoryAdapter(client).retrieve("task:t1:status")).value, "completed");
  const second = await coordinator.updateCoordination("planner", "working");
  assert.equal(second.id, "t2");
  await coordinator.parkTask({ task_id: "t2", fence: second.fence });
  await until(() => seen.some(([key, value]) => key === "task:t2:status" && value === "parked"));
  await sync.broadcast("task:42:status", "waiting");
  await until(() => seen.some(([key]) => key === "task:42:status"));
  monitor.stop();
  unsubscribe();
  await coordinator.close();
  await sync.close();
});

withServer("the query optimizer reads from memory what it has read before, never stale, and asks the server for the rest", async ({ open }) => {
  const [client, other] = [await open("a"), await open("b")];
  const optimizer = new TursoQueryOptimizer(client, { maximum: 2 });
  await other.broadcast("task:1", "one");
  assert.equal(await optimizer.optimizedQuery({ key: "task:1", ttl: 3600 }), "one");
  await other.broadcast("task:1", "two");
  await until(async () => (await optimizer.optimizedQuery({ key: "task:1" })) === "two");
  await other.broadcast("a*b", 1);
  await other.broadcast("axb", 2);
  assert.equal(await optimizer.optimizedQuery({ key: "a*b" }), 1);
  assert.deepEqual((await optimizer.optimizedQuery({ pattern: "task:*" })).map(({ key, value }) => [key, value]), [["task:1", "two"]]);
  assert.equal(await optimizer.optimizedQuery({ key: "nothing" }), undefined);
  await other.memory.store("note", "words to find");
  assert.deepEqual((await optimizer.optimizedQuery({ search: "find", in: ["memory"] })).map((one) => one.name), ["note"]);
  assert.deepEqual([optimizer.selectOptimalEdge(), [...optimizer.measureEdgeLatencies().keys()]], [client.edge, [client.edge]]);
  optimizer.close();
});

withServer("the hooks give a task what other sessions know, keep edits and a summary, and break nobody's work", async ({ open }) => {
  const client = await open("worker");
  await client.memory.store("migration-plan", { step: 1 }, { session: "before" });
  const hooks = createHooks(client);
  const context = { sessionId: "s1", agentId: "coder", taskId: "t", taskType: "migration" };
  await hooks["pre-task"](context);
  assert.deepEqual(context.previousContext, [{ key: "migration-plan", value: { step: 1 } }]);
  await hooks["post-edit"]({ sessionId: "s1", agentId: "coder", file: "a.js", changes: ["x", "y"] });
  await hooks["post-edit"]({ sessionId: "s1", agentId: "coder", file: ".env", changes: ["SECRET=1"] });
  await hooks["session-end"]({ sessionId: "s1", agentId: "coder" });
  const summary = (await client.fetch("session:s1:summary")).value;
  assert.deepEqual([summary.metrics.edits, summary.metrics.files, summary.metrics.prompts, summary.agent_id], [2, 2, 1, "coder"]);
  for await (const { value } of client.fetchAll("session:**")) assert.ok(!JSON.stringify(value).includes("SECRET"));
  const gone = await open("gone");
  await gone.close();
  const problems = [];
  const broken = createHooks(gone, { onProblem: (hook) => problems.push(hook) });
  const alone = { sessionId: "s1" };
  await broken["pre-task"](alone);
  await broken["session-end"](alone);
  assert.deepEqual([alone.previousContext, problems], [[], ["pre-task", "session-end"]]);
});
