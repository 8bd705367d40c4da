// What becomes of those who wait when there is no connection, and why there is none.
import assert from "node:assert/strict";
import { test } from "node:test";
import { connect } from "../src/index.js";
import { Player } from "./play.js";
import { Server, WebSocket, hasServer, until } from "./support.js";

const nowhere = "ws://127.0.0.1:1/sync";
const quiet = { WebSocket, log: () => {} };
const two = ["ws://one/sync", "ws://two/sync"];

test("who tries again at once does not keep the event loop from turning", async () => {
  const client = await connect(nowhere, { ...quiet, outboxLimit: 1 });
  await until(() => client.state === "offline", "there is no connection");
  client.broadcast("full", 1);
  for (const ask of [
    () => client.claim("k"),
    () => client.fetch("k"),
    () => client.fetchAll().next(),
    () => client.broadcast("k", 1, { transient: true }),
    () => client.broadcast("k", 1),
    () => client.delete("k"),
  ]) {
    let isOver = false;
    setTimeout(() => (isOver = true), 20);
    while (!isOver) await assert.rejects(ask());
  }
  await client.close({ timeout: 0 });
  let isOver = false;
  setTimeout(() => (isOver = true), 20);
  while (!isOver) await assert.rejects(client.live(), { code: "closed" });
});

test("that one server cannot be the right one is no verdict while another may be", async () => {
  const logs = [];
  const player = new Player({ urls: two }, { log: (level, message) => level === "error" && logs.push(message) });
  const { engine } = player;
  const told = [];
  engine.onVerdict((error) => told.push(error.code));
  const asked = engine.request({ type: "get", key: "k" });
  asked.catch(() => {});
  await player.step({ dials: two[0] });
  engine.dropped("a wrong path", "not_found", true);
  assert.deepEqual([engine.hasVerdict, engine.lastError.code, told.length, logs.length], [false, "not_found", 0, 1]);
  await player.step({ dials: two[1] });
  engine.dropped("no certificate", "bad_certificate", true);
  assert.ok(engine.hasVerdict);
  assert.deepEqual(told, ["bad_certificate"]);
  await assert.rejects(asked, { code: "bad_certificate" });
  // What is known already is not logged again.
  for (let turn = 0; turn < 4; turn++) {
    while (engine.state !== "connecting") await player.step({ advance: 100 });
    engine.dropped(...(engine.edge === two[0] ? ["a wrong path", "not_found"] : ["no certificate", "bad_certificate"]), true);
  }
  assert.equal(logs.length, 2);

  while (engine.state !== "connecting") await player.step({ advance: 100 });
  engine.dropped("nobody listens");
  assert.ok(!engine.hasVerdict, "an edge that fails in passing may be the one");
});

test("a verdict ends when its server greets, and with a reconnect", async () => {
  const player = new Player({});
  player.engine.dropped("a wrong path", "not_found", true);
  assert.ok(player.engine.hasVerdict);
  player.engine.reconnect();
  assert.ok(!player.engine.hasVerdict);
  player.engine.dropped("a wrong path", "not_found", true);
  await player.step({ advance: 20_000 });
  await player.step({ connect: {} });
  await player.step({ drop: true });
  assert.ok(!player.engine.hasVerdict);
});

test("a client with several servers is live with the one that works", { skip: !hasServer && "no server is built" }, async () => {
  const server = await Server.start();
  const client = await connect([`ws://127.0.0.1:${server.port}/sink`, server.url], quiet);
  await client.live({ timeout: 5_000 });
  assert.equal(client.edge, server.url);
  await client.close();
  const lost = await connect([`ws://127.0.0.1:${server.port}/sink`, `ws://127.0.0.1:${server.port}/sunk`], quiet);
  await assert.rejects(lost.live({ timeout: 5_000 }), { code: "not_found" });
  await lost.close();
  await server.stop();
});

test("why there is no connection is known, whatever the reason", async () => {
  const logs = [];
  const player = new Player({}, { log: (level, message) => ["warn", "error"].includes(level) && logs.push(message) });
  const { engine } = player;
  await player.step({ advance: 10_000 });
  assert.match(engine.lastError.message, /said nothing for 10 s/);
  await player.step({ advance: 1_000 });
  await player.step({ connect: {} });
  assert.equal(engine.lastError, undefined);
  engine.received('{"type":"bye","code":"shutting_down","reason":"an update"}');
  assert.deepEqual([engine.lastError.code, engine.lastError.message], ["offline", "the server says bye: shutting_down: an update"]);
  await player.step({ advance: 20_000 });
  await player.step({ connect: {} });
  logs.length = 0;
  engine.received("<html>\n<body>");
  engine.received("<html>\n<body>");
  assert.equal(logs.length, 1);
  assert.ok(!logs[0].includes("\n"), logs[0]);
  assert.deepEqual([engine.lastError.code, engine.lastError.message], ["bad_answer", 'the server sent what is no JSON: "<html>\\n<body>"']);

  const thrower = () => {
    throw new Error("no vault");
  };
  for (const token of [thrower, async () => thrower()]) {
    const client = await connect(nowhere, { ...quiet, token });
    await until(() => client.lastError, "it is known");
    assert.deepEqual([client.lastError.code, client.lastError.message], ["offline", "the token function threw: no vault"]);
    await client.close({ timeout: 0 });
  }
});

test("drained waits no longer than it may", async () => {
  const client = await connect(nowhere, quiet);
  await client.drained({ timeout: 0 });
  const write = client.broadcast("k", 1);
  await assert.rejects(client.drained({ timeout: 200 }), { code: "timeout", message: /no WebSocket could be opened/ });
  assert.equal(client.pendingWrites().length, 1);
  client.disconnect();
  const drained = client.drained({ timeout: 60_000 });
  await client.close({ timeout: 0 });
  await drained;
  await assert.rejects(write, { code: "closed" });
});

test("a socket that can be cut off is, when the server does not say goodbye", async () => {
  const sockets = [];
  class Frozen extends EventTarget {
    readyState = 1;
    constructor() {
      super();
      sockets.push(this);
    }
    send() {}
    close() {
      this.readyState = 2;
    }
    terminate() {
      this.readyState = 3;
    }
  }
  const client = await connect(nowhere, { ...quiet, WebSocket: Frozen });
  await client.close({ timeout: 0 });
  assert.equal(sockets[0].readyState, 2);
  await until(() => sockets[0].readyState === 3, "it is cut off", 3_000);
});
