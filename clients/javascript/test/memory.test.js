import assert from "node:assert/strict";
import { test } from "node:test";
import { connect } from "../src/index.js";
import { Server, WebSocket, hasServer, until } from "./support.js";

/** What agents remember and know, on a real server. */
function withServer(name, body) {
  test(name, { skip: !hasServer && "no server is built" }, async () => {
    const server = await Server.start();
    const clients = [];
    const open = async (agent) => {
      const client = await connect(server.url, { WebSocket, log: () => {}, agent });
      clients.push(client);
      return client;
    };
    try {
      await body({ server, open });
    } finally {
      for (const client of clients) await client.close();
      await server.stop();
    }
  });
}

withServer("what one agent stores another finds, with its tags and the time when it was first stored", async ({ open }) => {
  const ada = await open("ada");
  const bob = await open("bob");
  assert.equal((await ada.memory.store("auth/decision", { text: "tokens end after an hour" }, { tags: ["auth"], ttl: 60, metadata: { mine: 1 } })).status, "applied");
  const first = await bob.memory.retrieve("auth/decision", { agent: "ada" });
  assert.deepEqual([first.value, first.tags, first.metadata], [{ text: "tokens end after an hour" }, ["auth"], { mine: 1 }]);
  assert.ok(Math.abs(first.createdAt - Date.now() / 1000) < 60 && first.expiresAt > Date.now());
  await ada.memory.store("auth/decision", 2, { ttl: 60 });
  const second = await ada.memory.retrieve("auth/decision");
  assert.deepEqual([second.value, second.createdAt, second.tags], [2, first.createdAt, []]);
  assert.equal((await ada.memory.store("auth/decision", 3, { expect: first.version })).status, "condition");
  await ada.memory.store("auth/words", "about hooks and pre-edit");
  assert.deepEqual((await bob.memory.list("auth/", { agent: "ada" })).map(({ name, value }) => [name, value]), [["auth/decision", 2], ["auth/words", "about hooks and pre-edit"]]);
  const found = await bob.search("pre-edit", { in: ["memory"] });
  assert.deepEqual([found.results.map((one) => one.name), found.complete], [["auth/words"], true]);
  await ada.memory.delete("auth/words");
  assert.deepEqual((await bob.search("pre-edit")).results, []);
  assert.equal(await bob.memory.retrieve("auth/words", { agent: "ada" }), undefined);
  await assert.rejects(ada.memory.store("x", 1, { refreshOnRead: true }), { code: "bad_option" });
  await assert.rejects(ada.memory.store("", 1), { code: "bad_key" });
});

withServer("what is stored without a server is there at once for its own agent, and for all when there is one", async ({ server, open }) => {
  const ada = await open("a:b");
  ada.subscribe("memory:*");
  await ada.live();
  await server.kill();
  await until(() => ada.state === "offline");
  const stored = ada.memory.store("x", "written offline", { tags: ["t"] });
  assert.deepEqual((await ada.memory.retrieve("x")).tags, ["t"]);
  await server.run();
  assert.equal((await stored).status, "applied");
  const bob = await open("bob");
  const there = await bob.memory.retrieve("x", { agent: "a:b" });
  assert.ok(there.createdAt > 0 && there.value === "written offline");
  // The replica ends up with what the server made of it.
  await until(() => ada.entry("memory:a%3Ab:x")?.metadata?.starling?.created_at === there.createdAt);
});

withServer("the same knowledge is one, and is counted where it is found", async ({ open }) => {
  const ada = await open("ada");
  const bob = await open("bob");
  const name = await ada.knowledge.add("Merge", "the greater register wins", { tags: ["crdt"], confidence: 0.5, source: "paper" });
  assert.equal(await bob.knowledge.add("merge", "the greater register wins", { confidence: 0.9 }), name);
  assert.equal((await ada.search("greater")).results[0].knowledge, name);
  const known = await ada.knowledge.get(name);
  assert.deepEqual([known.confidence, known.usage_count, known.tags, known.source], [0.9, 1, ["crdt"], "paper"]);
  assert.deepEqual((await ada.knowledge.list({ tag: "crdt" })).map((one) => one.knowledge), [name]);
  assert.equal(await ada.knowledge.get("nothing"), undefined);
});

withServer("the coordination keys of system are the registers of those names", async ({ open }) => {
  const ada = await open("ada");
  await ada.memory.store("task:7:status", "completed", { agent: "system" });
  assert.equal((await ada.fetch("task:7:status")).value, "completed");
  assert.equal((await ada.memory.retrieve("task:7:status", { agent: "system" })).value, "completed");
});
