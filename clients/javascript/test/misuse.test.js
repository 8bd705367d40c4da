// What new users stumble over, and what must not pass in silence.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { test } from "node:test";
import { FileOutbox } from "../src/file-outbox.js";
import { connect } from "../src/index.js";
import { Server, WebSocket, freePort, hasServer, until } from "./support.js";

const nowhere = "ws://127.0.0.1:1/sync";
const quiet = { WebSocket, log: () => {} };

function withClient(name, body) {
  test(name, async () => {
    const client = await connect(nowhere, quiet);
    try {
      await body(client);
    } finally {
      await client.close({ timeout: 0 });
    }
  });
}

function withServer(name, body) {
  test(name, { skip: !hasServer && "no server is built" }, async () => {
    const server = await Server.start();
    try {
      await body(server);
    } finally {
      await server.stop();
    }
  });
}

withClient("an option that there is not, or a condition that is undefined, is an error", async (client) => {
  for (const options of [{ exepct: null }, { tll: 1 }, { expect: undefined }, { expect: client.entry("absent")?.version }, "null"]) {
    await assert.rejects(client.broadcast("k", 1, options), { code: "bad_option" });
  }
  await assert.rejects(client.delete("k", { ttl: 1 }), { code: "bad_option" });
  await assert.rejects(client.claim("k", { tll: 1 }), { code: "bad_option" });
  await assert.rejects(connect(nowhere, { ...quiet, agnet: "x" }), { code: "bad_option" });
  assert.throws(() => client.presence("k", 1, { ttl: 1 }), { code: "bad_option" });
  assert.equal(client.pendingWrites().length, 0);
  // What is undefined is absent everywhere else.
  client.broadcast("k", 1, { ttl: undefined, metadata: undefined });
  assert.equal(client.pendingWrites().length, 1);
  await (await connect(nowhere, { ...quiet, agent: undefined, log: undefined, outbox: undefined })).close({ timeout: 0 });
});

withClient("what no server would take is refused before it is sent", async (client) => {
  let deep = 1;
  for (let index = 0; index < 130; index++) deep = [deep];
  for (const [code, call] of [
    ["bad_value", () => client.broadcast("k", 1, { ttl: true })],
    ["bad_value", () => client.broadcast("k", 1, { ttl: "1" })],
    ["bad_value", () => client.broadcast("k", Infinity)],
    ["bad_value", () => client.broadcast("k", [NaN])],
    ["bad_value", () => client.broadcast("k", deep)],
    ["bad_value", () => client.broadcast("k", undefined)],
    ["bad_value", () => client.broadcast("k", 1n)],
    ["bad_value", () => client.broadcast("k", 1, { session: "a\nb" })],
    ["bad_value", () => client.claim("k", { value: NaN })],
    ["bad_key", () => client.broadcast("half \ud83d", 1)],
    ["bad_key", () => client.broadcast("k".repeat(513), 1)],
    ["bad_key", () => client.fetch("\udc00x")],
    ["bad_key", () => client.delete("a\0b")],
    ["bad_agent", () => connect(nowhere, { ...quiet, agent: "" })],
    ["bad_agent", () => connect(nowhere, { ...quiet, agent: "x".repeat(65) })],
    ["bad_url", () => connect([], quiet)],
    ["bad_url", () => connect("ws://127.0.0.1:99999", quiet)],
  ]) {
    await assert.rejects(call(), { code }, `${call}`);
  }
  assert.throws(() => client.presence("k", NaN), { code: "bad_value" });
  assert.throws(() => client.presence("\ud83d", 1), { code: "bad_key" });
});

test("an outbox does not take a file that is none of its own, nor one that is in use", () => {
  const folder = mkdtempSync(join(tmpdir(), "starling-outbox-"));
  const path = join(folder, "outbox");
  for (const content of ["important\n".repeat(100), '{"a":1}\n', "[1]\n[2]\n", '{"starling":"outbox","format":99}\n', "cut"]) {
    writeFileSync(path, content);
    assert.throws(() => new FileOutbox(path).load(), { code: "outbox_failed" });
    assert.equal(readFileSync(path, "utf8"), content);
  }
  writeFileSync(path, '{"put":{"key":"k","version":"018bcfe56800-0000-me","value":"1"}}\n{"put":{"ke');
  const outbox = new FileOutbox(path);
  assert.equal(outbox.load().length, 1);
  assert.ok(readFileSync(path, "utf8").startsWith('{"starling":"outbox"'));
  assert.throws(() => new FileOutbox(path).load(), { code: "outbox_failed" });
  outbox.close();
  assert.throws(() => outbox.put({ key: "k", version: "v" }), { code: "outbox_failed" });
  for (const kind of ["pid", "flock"]) {
    writeFileSync(`${path}.lock`, `${kind} ${process.ppid}`);
    const message = new RegExp(`process ${process.ppid}; if that is no client of Starling, remove ${path}.lock$`);
    assert.throws(() => new FileOutbox(path).load(), { code: "outbox_failed", message });
  }
  writeFileSync(`${path}.lock`, "pid 999999999");
  const again = new FileOutbox(path);
  assert.equal(again.load().length, 1);
  again.close();
  rmSync(folder, { recursive: true });
});

test("an outbox has one path, however it is written, and before it is there", () => {
  const folder = mkdtempSync(join(tmpdir(), "starling-outbox-"));
  const link = `${folder}-link`;
  symlinkSync(folder, link);
  const outboxes = [join(folder, "outbox"), relative(process.cwd(), join(folder, "outbox")), join(link, "outbox")].map((path) => new FileOutbox(path));
  const [first, ...others] = outboxes;
  first.load();
  for (const other of [...others, new FileOutbox(relative(process.cwd(), join(link, "outbox")))]) {
    assert.throws(() => other.load(), { code: "outbox_failed", message: /in use by another client of this process/ });
  }
  first.close();
  assert.throws(() => new FileOutbox(undefined), { code: "bad_option" });
  rmSync(link);
  rmSync(folder, { recursive: true });
});

withServer("writes that were not awaited are made before the end, and claims released", async (server) => {
  const writer = await connect(server.url, quiet);
  for (let index = 0; index < 1000; index++) writer.broadcast(`k:${index}`, index);
  await writer.claim("lock", { ttl: 60 });
  await writer.close();
  const reader = await connect(server.url, quiet);
  let count = 0;
  for await (const _ of reader.fetchAll("k:*")) count++;
  assert.equal(count, 1000);
  await reader.claim("lock");
  const fetched = await reader.fetch("k:7");
  assert.ok(fetched.agent && fetched.timestamp);
  const outcome = await reader.broadcast("k:7", 1, { ttl: 60, expect: fetched.version });
  assert.ok(outcome.judged && outcome.expiresAt);
  await reader.close();
});

test("what is left at the end is said", async () => {
  const logs = [];
  const client = await connect(nowhere, { WebSocket, log: (level, message) => level === "warn" && logs.push(message) });
  client.broadcast("k", 1);
  await client.close({ timeout: 100 });
  assert.ok(logs.some((line) => line.includes("1 writes")), `${logs}`);
});

withServer("questions wait for the connection, and for the writes before them", async (server) => {
  const client = await connect(server.url, quiet);
  assert.equal(await client.fetch("nothing"), undefined);
  for (let index = 0; index < 1000; index++) client.broadcast(`k:${index}`, index);
  assert.equal((await client.fetch("k:999")).value, 999);
  assert.equal((await client.broadcast("k:998", 0, { expect: null })).status, "condition");
  await client.close();
});

withServer("why there is no connection is said once, and is what those who wait get", async (server) => {
  const port = await freePort();
  for (const [url, code, words] of [
    [`ws://127.0.0.1:${server.port}/sink`, "not_found", /\/sync/],
    [`wss://127.0.0.1:${server.port}/sync`, "bad_certificate", /TLS/],
    [`ws://127.0.0.1:${port}/sync`, "offline", /nobody listens/],
  ]) {
    const logs = [];
    const log = (level, message) => ["warn", "error"].includes(level) && logs.push(message);
    const client = await connect(url, { WebSocket, log });
    const asked = client.fetch("k");
    asked.catch(() => {});
    await assert.rejects(client.live({ timeout: 2_000 }), { code, message: words }, url);
    assert.match(client.lastError.message, words);
    if (code === "not_found") await assert.rejects(asked, { code });
    await until(() => logs.length > 0, "it is logged");
    await client.close({ timeout: 0 });
    assert.equal(logs.length, 1, `${logs}`);
  }
});
