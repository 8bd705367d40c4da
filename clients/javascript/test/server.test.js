import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { FileOutbox } from "../src/file-outbox.js";
import { connect } from "../src/index.js";
import { Server, WebSocket, hasServer, until } from "./support.js";

const options = { WebSocket, log: () => {} };

/** With a real server, and clients that are closed in the end. */
function withServer(name, body) {
  test(name, { skip: !hasServer && "no server is built" }, async (t) => {
    const server = await Server.start();
    const clients = [];
    const open = async (more = {}, url = server.url) => {
      const client = await connect(url, { ...options, ...more });
      clients.push(client);
      return client;
    };
    try {
      await body({ server, open, t });
    } finally {
      for (const client of clients) await client.close();
      await server.stop();
    }
  });
}

withServer("the five lines of the README", async ({ open }) => {
  const sync = await open({ agent: "planner" });
  const updates = [];
  const unsubscribe = await sync.subscribe("task:*", (update) => updates.push(update));
  const outcome = await sync.broadcast("task:42:status", { state: "done" });
  assert.equal(outcome.status, "applied");
  assert.equal(outcome.durable, true);
  assert.deepEqual(sync.get("task:42:status"), { state: "done" });
  assert.equal(updates.length, 1);
  assert.equal(updates[0].agent, "planner");
  unsubscribe();
  await sync.broadcast("task:42:status", null);
  assert.equal(updates.length, 1);
});

withServer("what cannot be is said, and a closed client says that it is", async ({ open }) => {
  const sync = await open();
  for (const value of [undefined, 10n, () => 1]) await assert.rejects(sync.broadcast("x", value), { code: "bad_value" });
  await assert.rejects(sync.broadcast("", 1), { code: "bad_key" });
  await assert.rejects(sync.broadcast("k".repeat(600), 1), { code: "bad_key", message: /600 bytes/ });
  await sync.live();
  await assert.rejects(sync.claim("lock", { value: 10n }), { code: "bad_value" });
  assert.throws(() => sync.subscribe("***"), { code: "bad_pattern" });
  await assert.rejects(connect("http://localhost"), { code: "bad_url" });
  let calls = 0;
  const other = await open();
  const stop = other.subscribe("x", () => {
    calls++;
    stop();
  });
  other.subscribe("x", () => other.close());
  await other.live();
  await sync.broadcast("x", 1);
  await until(() => other.state === "closed", "it is closed from within a callback");
  assert.equal(calls, 1);
  await assert.rejects(other.broadcast("x", 1), { code: "closed" });
  await assert.rejects(other.live(), { code: "closed" });
  assert.throws(() => other.subscribe("x"), { code: "closed" });
});

withServer("two clients see each other's writes, deletes and metadata", async ({ open }) => {
  const [a, b] = [await open({ agent: "a", session: "run-1" }), await open({ agent: "b" })];
  const seen = b.subscribe("x:*");
  await b.live();
  await a.broadcast("x:1", "ä\u{1f600}\u2028", { metadata: { why: ["test"] }, ttl: 60 });
  await a.delete("x:1");
  await a.broadcast("x:2", [1.5, null, { "": false }]);
  const told = [];
  for await (const update of seen) {
    told.push(update);
    if (told.length === 3) break;
  }
  assert.deepEqual(told.map(({ key, value, deleted }) => [key, value, deleted]), [
    ["x:1", "ä\u{1f600}\u2028", false],
    ["x:1", undefined, true],
    ["x:2", [1.5, null, { "": false }], false],
  ]);
  assert.deepEqual(told[0].metadata, { why: ["test"] });
  assert.equal(told[0].session, "run-1");
  assert.ok(told[0].expiresAt > Date.now());
  assert.equal(b.get("x:2"), undefined, "leaving the loop ends the subscription");
});

withServer("reading the server, conditions and claims", async ({ open }) => {
  const [a, b] = [await open({ agent: "a" }), await open({ agent: "b" })];
  await Promise.all([a.live(), b.live()]);
  for (let index = 0; index < 25; index++) a.broadcast(`n:${index}`, index);
  await a.drained();
  const all = [];
  for await (const { value } of b.fetchAll("n:*", { pageSize: 10 })) all.push(value);
  assert.equal(all.length, 25);
  assert.equal((await b.fetch("n:7")).value, 7);
  assert.equal(await b.fetch("n:none"), undefined);

  assert.equal((await a.broadcast("once", 1, { expect: null })).status, "applied");
  const second = await b.broadcast("once", 2, { expect: null });
  assert.equal(second.status, "condition");
  assert.equal(second.current.value, 1);

  const lease = await a.claim("lock", { ttl: 1 });
  await assert.rejects(b.claim("lock"), { code: "held" });
  await until(() => lease.expiresAt > Date.now() + 700, "it is renewed");
  const first = lease.expiresAt;
  await until(() => lease.expiresAt > first, "it is renewed again");
  assert.ok(lease.isHeld);
  assert.equal((await a.broadcast("work", 1, { fence: { key: "lock", token: lease.fence } })).status, "applied");
  await lease.release();
  assert.equal(await lease.ended, undefined);
  await assert.rejects(a.broadcast("work", 2, { fence: { key: "lock", token: lease.fence } }), { code: "stale_fence" });
  const next = await b.claim("lock", { until: "disconnect" });
  assert.ok(next.fence > lease.fence);
  await b.close();
  assert.equal(await next.ended, undefined);
  // Released: nobody has to wait for its time to be over.
  await (await a.claim("lock")).release();
});

withServer("presence goes with its client, and comes back with the server", async ({ server, open }) => {
  const [watcher, agent] = [await open({ agent: "watcher" }), await open({ agent: "agent" })];
  watcher.subscribe("here:*", () => {});
  const value = { since: 1 };
  const metadata = { by: "agent" };
  agent.presence("here:agent", value, { metadata });
  await until(() => watcher.get("here:agent"), "it is seen");
  // What its caller does with the object later says nothing to anybody.
  value.since = metadata.by = 2;
  await server.kill();
  await server.run();
  await until(() => watcher.state === "live" && watcher.get("here:agent"), "it is seen again");
  assert.deepEqual(watcher.get("here:agent"), { since: 1 });
  assert.deepEqual(watcher.entry("here:agent").metadata, { by: "agent" });
  await agent.close();
  await until(() => watcher.get("here:agent") === undefined, "it is gone");
});

withServer("a slow callback is told the latest of each key, in bounded memory", async ({ open }) => {
  const [reader, writer] = [await open(), await open({ agent: "w" })];
  let release;
  const gate = new Promise((resolve) => (release = resolve));
  const told = new Map();
  let count = 0;
  reader.subscribe("k:*", async ({ key, value }) => {
    count++;
    assert.ok(!(told.get(key) > value), "in order per key");
    told.set(key, value);
    if (count === 1) await gate;
  });
  await reader.live();
  for (let round = 0; round < 400; round++) {
    for (let key = 0; key < 10; key++) writer.broadcast(`k:${key}`, round);
    await writer.drained();
  }
  await until(() => reader.get("k:9") === 399, "the replica has all");
  release();
  await until(() => [...told.values()].every((value) => value === 399) && told.size === 10, "the latest are told");
  assert.ok(count < 1500, `${count} of 4000 were told`);
});

withServer("1,000 writes made offline by a process that is killed are made once each", async ({ server, open }) => {
  const folder = mkdtempSync(join(tmpdir(), "starling-outbox-"));
  const path = join(folder, "outbox");
  await server.kill();
  const writer = spawn(process.execPath, [...process.execArgv, fileURLToPath(new URL("offline-writer.js", import.meta.url)), server.url, path]);
  let output = "";
  writer.stdout.on("data", (data) => (output += data));
  await until(() => output.includes("written"), "the writes are made");
  writer.kill("SIGKILL");
  await server.run();

  const client = await open({ outbox: new FileOutbox(path), agent: "other" });
  const waiting = client.pendingWrites();
  assert.equal(waiting.length, 1000);
  const outcomes = await Promise.all(waiting.map(({ outcome }) => outcome));
  assert.ok(outcomes.every(({ status }) => status === "applied"));
  assert.equal(new Set(outcomes.map(({ revision }) => revision)).size, 1000, "a revision each: none was made twice");
  const stored = [];
  for await (const register of client.fetchAll("offline:*")) stored.push(register);
  assert.equal(stored.length, 1000);
  assert.ok(stored.every(({ key, value, version }) => key === `offline:${value}` && version.endsWith("-killed")));
  await client.close();
  const left = new FileOutbox(path);
  assert.equal(left.load().length, 0, "nothing is left in the outbox");
  left.close();
  rmSync(folder, { recursive: true });
});

test("another edge takes over within 2 s, and nothing is told twice", { skip: !hasServer && "no server is built" }, async () => {
  const [one, two] = [await Server.start(), await Server.start()];
  const version = (index) => `018bcfe56800-${index.toString(16).padStart(4, "0")}-source`;
  // What a link between the two would do: the same registers, with the same versions, in both.
  const feed = await Promise.all([one, two].map(({ url }) => connect(url, { ...options, agent: "feed" })));
  const put = (client, index) => client.broadcast(`k:${index % 10}`, index, { version: version(index) });
  await Promise.all(feed.map((client) => client.live()));
  for (let index = 0; index < 50; index++) await Promise.all(feed.map((client) => put(client, index)));

  const client = await connect([one.url, two.url], { ...options, probeInterval: 200 });
  const told = new Map();
  client.subscribe("k:*", ({ version }) => told.set(version, (told.get(version) ?? 0) + 1));
  await client.live();
  assert.equal(client.edge, one.url);
  await until(() => client.edges.every(({ roundTrip }) => roundTrip !== undefined), "both are measured");
  const stoppedAt = Date.now();
  await one.kill();
  await until(() => client.state === "live" && client.edge === two.url, "the other is used");
  assert.ok(Date.now() - stoppedAt < 2_000);
  for (let index = 50; index < 100; index++) await put(feed[1], index);
  await until(() => told.has(version(99)), "updates come");
  assert.deepEqual([...told.values()].filter((count) => count !== 1), []);
  for (let index = 40; index < 100; index++) assert.ok(told.has(version(index)), `version ${index} was told`);
  for (const each of [...feed, client]) await each.close();
  await two.stop();
  await one.stop();
});
