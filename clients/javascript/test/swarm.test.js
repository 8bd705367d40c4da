import assert from "node:assert/strict";
import { test } from "node:test";
import { Swarm, connect } from "../src/index.js";
import { Server, WebSocket, hasServer, until } from "./support.js";

/** Agents of a swarm, on a real server. */
function withSwarm(name, body) {
  test(name, { skip: !hasServer && "no server is built" }, async () => {
    const server = await Server.start();
    const clients = [];
    const stop = new AbortController();
    const loops = [];
    const open = async (agent) => {
      const client = await connect(server.url, { WebSocket, log: () => {}, agent });
      clients.push(client);
      return new Swarm(client, "s");
    };
    const work = async (agent, how, options = {}) => {
      const swarm = await open(agent);
      loops.push(swarm.work(how, { signal: stop.signal, wait: 1, ...options }));
    };
    try {
      await body({ server, open, work, clients });
    } finally {
      stop.abort();
      await Promise.allSettled(loops);
      for (const client of clients) await client.close();
      await server.stop();
    }
  });
}

withSwarm("tasks are done in their order, failures are tried again, and results are there", async ({ open, work, clients }) => {
  const planner = await open("planner");
  await planner.init();
  const done = [];
  const attempts = [];
  for (const agent of ["ada", "bob"]) {
    await work(agent, async (task) => {
      attempts.push(task.id);
      if (task.id === "b" && task.row.attempt === 1) throw new Error("not today");
      await task.progress({ percent: 50 });
      done.push(task.id);
      return task.input ?? null;
    });
  }
  const ids = await planner.submit([{ id: "a", input: 1 }, { id: "b", dependencies: ["a"] }, { id: "c", dependencies: ["a", "b"], input: [3] }]);
  assert.deepEqual(ids, ["a", "b", "c"]);
  const results = [];
  clients[0].subscribe("swarm:s:task:*:result", (update) => results.push(update));
  await until(() => results.find((update) => update.key.includes(":c:")), "the last is done");
  assert.deepEqual(done, ["a", "b", "c"]);
  assert.equal(attempts.length, 4);
  assert.deepEqual(results.find((update) => update.key.includes(":c:")).value, [3]);
});

withSwarm("a task that is cancelled is lost, and one of a loop that stops goes back", async ({ open, clients }) => {
  const planner = await open("planner");
  await planner.init({ lease: 1 });
  const stop = new AbortController();
  const begun = [];
  const lost = [];
  const agent = await open("ada");
  const loop = agent.work(
    (task) =>
      new Promise((resolve) => {
        begun.push(task.id);
        task.signal.addEventListener("abort", () => resolve(lost.push(task.id)));
      }),
    { signal: stop.signal, wait: 1 },
  );
  await planner.submit([{ id: "t" }]);
  await until(() => begun.length === 1, "it has begun");
  await planner.request("task.cancel", { task: "t" });
  await until(() => lost.length === 1, "it is lost");
  await planner.submit([{ id: "u" }]);
  await until(() => begun.length === 2, "the other has begun");
  stop.abort();
  await loop;
  assert.equal((await clients[0].fetch("swarm:s:task:u")).value.status, "ready");
});

withSwarm("a loop lives through the end of the server", async ({ server, open, work, clients }) => {
  const planner = await open("planner");
  await planner.init();
  await work("ada", async (task) => task.id);
  await planner.submit([{ id: "a" }]);
  await until(async () => (await clients[0].fetch("swarm:s:task:a")).value.status === "completed", "one is done");
  await server.kill();
  await server.run();
  await planner.submit([{ id: "b" }]);
  await until(async () => (await clients[0].fetch("swarm:s:task:b").catch(() => undefined))?.value.status === "completed", "another is done");
});

test("a worker says once that there is no swarm of its name, and works when there is one", { skip: !hasServer && "no server is built" }, async () => {
  const server = await Server.start();
  const said = [];
  const client = await connect(server.url, { WebSocket, log: (level, message) => level === "warn" && said.push(message), agent: "ada" });
  const stop = new AbortController();
  const swarm = new Swarm(client, "late");
  const done = [];
  const loop = swarm.work((task) => done.push(task.id), { signal: stop.signal, wait: 1 });
  try {
    await until(() => said.some((text) => text.includes("there is no swarm late")));
    await swarm.init();
    await swarm.submit([{ id: "a" }]);
    await until(() => done.length === 1);
    assert.equal(said.filter((text) => text.includes("there is no swarm")).length, 1);
  } finally {
    stop.abort();
    await Promise.allSettled([loop]);
    await client.close();
    await server.stop();
  }
});
