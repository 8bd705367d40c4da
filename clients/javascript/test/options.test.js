// What is passed to a client and cannot be meant is refused, and what a user's function does wrong is logged.
import assert from "node:assert/strict";
import { test } from "node:test";
import { toJSON } from "../src/check.js";
import { connect } from "../src/index.js";
import { Player } from "./play.js";
import { WebSocket, until } from "./support.js";

const nowhere = "ws://127.0.0.1:1/sync";

function withClient(name, body) {
  test(name, async () => {
    const logs = [];
    const client = await connect(nowhere, { WebSocket, log: (level, message) => level === "error" && logs.push(message) });
    try {
      await body(client, logs);
    } finally {
      await client.close({ timeout: 0 });
    }
  });
}

test("an option of connect that cannot be what it is", async () => {
  const wrong = {
    outboxLimit: [0, -1, NaN, Infinity, "10"],
    pingInterval: [0, "10s", Infinity],
    pingTimeout: [-1],
    probeInterval: [true],
    refusedDelay: [{}],
    onRefused: ["restamp"],
    log: ["debug"],
    now: [0],
    wall: [0],
    random: [0.5],
    WebSocket: ["ws"],
    outbox: ["/tmp/outbox", {}, { load() {}, put() {}, remove() {} }],
    token: [5, {}],
  };
  for (const [name, values] of Object.entries(wrong)) {
    for (const value of values) {
      const message = new RegExp(`^${name} is .+; it is `);
      await assert.rejects(connect(nowhere, { WebSocket, log: () => {}, [name]: value }), { code: "bad_option", message }, name);
    }
  }
  await assert.rejects(connect(nowhere, { outbox: "x" }), { message: 'outbox is "x"; it is an outbox such as new FileOutbox(path)' });
  const client = await connect(nowhere, { WebSocket, log: () => {}, onRefused: null, outbox: null, token: null, pingInterval: null });
  await client.close({ timeout: null });
});

withClient("a timeout is a number of milliseconds", async (client) => {
  for (const timeout of [-1, NaN, "1", {}]) {
    for (const call of [
      () => client.live({ timeout }),
      () => client.close({ timeout }),
      () => client.drained({ timeout }),
      () => client.fetch("k", { timeout }),
      () => client.claim("k", { timeout }),
      () => client.broadcast("k", 1, { timeout }),
      () => client.fetchAll("*", { timeout }).next(),
    ]) {
      await assert.rejects(call(), { code: "bad_option", message: /^timeout is / }, `${call}`);
    }
  }
  await assert.rejects(client.live({ timeout: 0 }), /\S/);
  const live = client.live({ timeout: Infinity });
  await client.close({ timeout: 0 });
  await assert.rejects(live, { code: "closed" });
});

withClient("a subscription with what is no callback, or no option", (client) => {
  const listener = () => {};
  for (const args of [
    ["k", "listener"],
    ["k", 5],
    ["k", { snapshot: false }, listener],
    ["k", listener, { snaphsot: false }],
    ["k", listener, { snapshot: 0 }],
    ["k", { echo: "no" }],
    ["k", listener, listener],
  ]) {
    assert.throws(() => client.subscribe(...args), { code: "bad_option" }, `${args}`);
  }
  for (const args of [["k"], ["k", null], ["k", undefined, { echo: false }], ["k", { snapshot: false }], ["k", listener, null]]) client.subscribe(...args)();
});

withClient("a subscription with a callback is not iterated over", async (client) => {
  const withCallback = client.subscribe("k", () => {});
  await assert.rejects(async () => {
    for await (const _ of withCallback);
  }, { code: "bad_option", message: /without one to iterate/ });
});

test("a callback of onState is a function, and what it throws is logged", async () => {
  const logs = [];
  const client = await connect(nowhere, { WebSocket, log: (level, message) => level === "error" && logs.push(message) });
  for (const callback of [undefined, "x", {}]) assert.throws(() => client.onState(callback), { code: "bad_option" });
  const states = [];
  client.onState(() => {
    throw new Error("thrown");
  });
  client.onState(async () => {
    throw new Error("rejected");
  });
  client.onState((state) => states.push(state));
  await client.close({ timeout: 0 });
  await until(() => logs.length >= 2 && states.includes("closed"), "they are logged, and the next is called");
  assert.ok(logs.some((line) => line.includes("Error: thrown")) && logs.some((line) => line.includes("Error: rejected")), `${logs}`);
});

withClient("half a character has no JSON, and what only looks like one has", async (client) => {
  for (const value of ["\ud800", "x\\\udfff", { "\udabc": 1 }, [["\ude00\ud83d"]], '"\ud83d']) {
    await assert.rejects(client.broadcast("k", value), { code: "bad_value" }, JSON.stringify(value));
    await assert.rejects(client.broadcast("k", 1, { metadata: { value } }), { code: "bad_value" });
    await assert.rejects(client.claim("k", { value }), { code: "bad_value" });
    assert.throws(() => client.presence("k", value), { code: "bad_value" });
  }
  for (const value of ["\ud83d\ude00", "\\ud800", "\\\\ud83d", { "\\udfff": "\\ude00" }, "\\u", "\ud7ff\ue000"]) {
    assert.deepEqual(JSON.parse(toJSON(value, "it")), value);
  }
});

test("a closed client says so, also of a presence", async () => {
  const client = await connect(nowhere, { WebSocket, log: () => {} });
  await client.close({ timeout: 0 });
  assert.throws(() => client.presence("k", 1), { code: "closed" });
  assert.throws(() => client.subscribe("k"), { code: "closed" });
  for (const call of [
    () => client.live(),
    () => client.broadcast("k", 1),
    () => client.delete("k"),
    () => client.broadcast("k", 1, { transient: true }),
    () => client.fetch("k"),
    () => client.fetchAll().next(),
    () => client.claim("k"),
  ]) {
    await assert.rejects(call(), { code: "closed" }, `${call}`);
  }
});

test("what onRefused returns that says nothing is logged, and no write is lost by it", async () => {
  for (const [returned, code, is] of [
    [undefined, "drift", "restamp"],
    ["retsamp", "drift", "restamp"],
    [Promise.resolve("drop"), "drift", "restamp"],
    [undefined, "stale_version", "drop"],
    ["drop", "drift", "drop"],
    ["restamp", "stale_version", "restamp"],
  ]) {
    const logs = [];
    const player = new Player({}, { onRefused: () => returned, log: (level, message) => level === "error" && logs.push(message) });
    await player.step({ connect: {} });
    const outcome = player.engine.write({ key: "k", value: "1" });
    outcome.catch(() => {});
    await player.step({ sends: { type: "broadcast", id: "$id" } });
    await player.step({ receives: { type: "error", id: "$id", code, message: "no", server_time: player.now } });
    if (is === "restamp") await player.step({ sends: { type: "broadcast", key: "k" } });
    else await assert.rejects(outcome, { code });
    assert.equal(logs.length, returned === "drop" || returned === "restamp" ? 0 : 1, `${logs}`);
  }
});
