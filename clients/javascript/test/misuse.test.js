// What new users stumble over, and what must not pass in silence.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { linkSync, mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { test } from "node:test";
import { FileOutbox } from "../src/file-outbox.js";
import { connect } from "../src/index.js";
import { Outbox } from "../src/outbox.js";
import { Server, WebSocket, freePort, hasServer, serverBinary, until } from "./support.js";

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
    ["bad_value", () => client.broadcast("k", Promise.resolve(1))],
    ["bad_value", () => client.broadcast("k", { then() {} })],
    ["bad_value", () => client.broadcast("k", new Map([[1, 2]]))],
    ["bad_value", () => client.broadcast("k", { deep: [new Set([1])] })],
    ["bad_value", () => client.broadcast("k", new Error("no"))],
    ["bad_value", () => client.broadcast("k", new Uint8Array(3))],
    ["bad_value", () => client.broadcast("k", { run: () => {} })],
    ["bad_value", () => client.broadcast("k", /x/)],
    ["bad_value", () => client.broadcast("k", 1, { metadata: [1] })],
    ["bad_value", () => client.broadcast("k", 1, { metadata: "m" })],
    ["bad_value", () => client.broadcast("k", 1, { expect: () => 1 })],
    ["bad_value", () => client.broadcast("k", 1, { expect: Symbol("s") })],
    ["bad_value", () => client.broadcast("k", 1, { expect: NaN })],
    ["bad_option", () => client.broadcast("k", 1, { fence: undefined })],
    ["bad_value", () => client.broadcast("k", 1, { fence: null })],
    ["bad_value", () => client.broadcast("k", 1, { fence: NaN })],
    ["bad_value", () => client.broadcast("k", 1, { fence: { key: "k" } })],
    ["bad_value", () => client.broadcast("k", 1, { fence: { key: "k", token: Infinity } })],
    ["bad_value", () => client.broadcast("k", 1, { fence: { key: "k", fence: 3, isHeld: true } })],
    ["bad_option", () => client.broadcast("k", 1, { transient: NaN })],
    ["bad_option", () => client.broadcast("k", 1, [])],
    ["bad_option", () => client.broadcast("k", 1, new Map([["expect", null]]))],
    ["bad_option", () => client.broadcast("k", 1, Object.create({ expect: null }))],
    ["bad_option", () => client.broadcast("k", 1, new Date())],
    ["bad_value", () => client.broadcast("k", new URLSearchParams("a=1"))],
    ["bad_value", () => client.broadcast("k", [[1].values()])],
    ["bad_value", () => client.broadcast("k", new Date(NaN))],
    ["bad_value", () => client.broadcast("k", new Number(NaN))],
    ["bad_value", () => client.broadcast("k", { toJSON: () => new Map() })],
    ["bad_value", () => client.broadcast("k", [{ toJSON: () => () => 1 }])],
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
  const cyclic = {};
  cyclic.cyclic = cyclic;
  await assert.rejects(client.broadcast("k", cyclic), { code: "bad_value" });
  assert.equal(client.pendingWrites().length, 0);
  for (const call of [() => client.get(5), () => client.entry(undefined)]) assert.throws(call, { code: "bad_key" });
  assert.throws(() => client.subscribe(1), { code: "bad_pattern", message: /text/ });
  assert.throws(() => client.presence("k", NaN), { code: "bad_value" });
  assert.throws(() => client.presence("\ud83d", 1), { code: "bad_key" });
});

test("a wrong write that nobody waits for is logged, and so is a conditional one that fails", async () => {
  const logs = [];
  const client = await connect(nowhere, { WebSocket, log: (level, message) => logs.push(`${level}: ${message}`) });
  await until(() => client.state === "offline");
  client.broadcast("", 1);
  client.delete("");
  client.broadcast("k", undefined);
  client.broadcast("k", 1, { tll: 1 });
  client.broadcast("k", 1, { expect: null });
  await until(() => logs.some((line) => line.startsWith("warn: the write to k failed")));
  assert.equal(logs.filter((line) => line.startsWith("error: ")).length, 4, logs.join("\n"));
  // Null is what is not given, and an object without a prototype, or with a toJSON of its own, is a value like any other.
  client.broadcast("k", Object.assign(Object.create(null), { at: new Date(0), none: undefined }), { metadata: null, ttl: null });
  assert.deepEqual(client.get("k"), { at: "1970-01-01T00:00:00.000Z" });
  await client.close({ timeout: 0 });
});

test("an outbox whose file went away, was cut off or added to keeps nothing more", () => {
  const folder = mkdtempSync(join(tmpdir(), "starling-outbox-"));
  const path = join(folder, "outbox");
  const spoil = [
    () => rmSync(path),
    () => (writeFileSync(`${path}2`, readFileSync(path)), renameSync(`${path}2`, path)),
    () => truncateSync(path, 5),
    () => truncateSync(path, 10_000),
  ];
  for (const change of spoil) {
    rmSync(path, { force: true });
    const outbox = new FileOutbox(path);
    outbox.load();
    outbox.put({ key: "k", version: "1" });
    change();
    assert.throws(() => outbox.put({ key: "k", version: "2" }), { code: "outbox_failed" }, `${change}`);
    outbox.close();
  }
  rmSync(path);
  writeFileSync(path, '{"starling":"outbox","format":1}\n');
  linkSync(path, `${path}-too`);
  assert.throws(() => new FileOutbox(path).load(), { code: "outbox_failed", message: /hard links/ });
  assert.throws(() => new FileOutbox("/dev/full").load(), { code: "outbox_failed", message: /no file/ });
  assert.throws(() => new FileOutbox(path, { fsnyc: true }), { code: "bad_option" });
  assert.throws(() => new FileOutbox(path, { fsync: "yes" }), { code: "bad_option" });
  rmSync(folder, { recursive: true });
});

test("a full disk leaves no half of a line, and what is there can be opened", { skip: process.platform !== "linux" && "needs a limit on files" }, () => {
  const folder = mkdtempSync(join(tmpdir(), "starling-outbox-"));
  const path = join(folder, "outbox");
  const program = `
    const { FileOutbox } = await import(process.env.MODULE);
    const outbox = new FileOutbox(process.env.OUTBOX);
    const before = outbox.load().length;
    let count = 0;
    try {
      for (; count < 100; count++) outbox.put({ key: "k", version: String(before + count), value: "x".repeat(50) });
    } catch (error) {
      console.log(error.code);
    }
    outbox.close();
    console.log(before, count);`;
  const run = (limit) => {
    const command = `trap '' XFSZ; ulimit -f ${limit}; exec ${process.execPath} --input-type=module -e "$PROGRAM"`;
    const env = { ...process.env, PROGRAM: program, OUTBOX: path, MODULE: new URL("../src/file-outbox.js", import.meta.url).href };
    const { stdout, stderr } = spawnSync("bash", ["-c", command], { env, encoding: "utf8" });
    assert.equal(stderr, "");
    return stdout.trim().split(/\s+/);
  };
  const [code, before, count] = run(2);
  assert.deepEqual([code, before], ["EFBIG", "0"]);
  assert.ok(readFileSync(path, "utf8").endsWith("}\n"));
  assert.deepEqual(run(1), ["EFBIG", count, "0"]);
  rmSync(folder, { recursive: true });
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

test("nothing is given up for a forgotten token", { skip: !hasServer && "no server is built" }, async () => {
  const folder = mkdtempSync(join(tmpdir(), "starling-access-"));
  const access = join(folder, "access.json");
  const created = spawnSync(serverBinary, ["token", "create", "all", "--access", access, "--read", "*", "--write", "*"], { encoding: "utf8" });
  const server = await Server.start(["--access", access]);
  let token;
  const client = await connect(server.url, { ...quiet, token: () => token });
  client.subscribe("*");
  const write = client.broadcast("k", 1);
  await assert.rejects(client.live({ timeout: 10_000 }), { code: "unauthorized" });
  assert.equal(client.lastError.code, "unauthorized");
  assert.equal(client.pendingWrites().length, 1);
  token = created.stdout.split(/\s/)[0];
  client.reconnect();
  await client.live({ timeout: 10_000 });
  assert.ok((await write).applied);
  await client.close();
  await server.stop();
  rmSync(folder, { recursive: true });
});

withServer("what is not queued is waited for too, and so is an outbox that is not connected yet", async (server) => {
  const folder = mkdtempSync(join(tmpdir(), "starling-outbox-"));
  const first = await connect(server.url, { ...quiet, outbox: new FileOutbox(join(folder, "outbox")) });
  first.broadcast("queued", 1);
  let isDone = false;
  first.broadcast("conditional", 1, { expect: null }).then(() => (isDone = true));
  await first.drained({ timeout: 10_000 });
  await new Promise((resolve) => setTimeout(resolve));
  assert.ok(isDone);
  for (let number = 0; number < 300; number++) first.broadcast(`many:${number}`, 1, { expect: null });
  await first.close();
  const second = await connect(server.url, { ...quiet, outbox: new FileOutbox(join(folder, "outbox")) });
  second.broadcast("short", 1);
  await second.close();
  const reader = await connect(server.url, quiet);
  let count = 0;
  for await (const _ of reader.fetchAll("many:*")) count++;
  assert.equal(count, 300);
  for (const key of ["queued", "conditional", "short"]) assert.ok(await reader.fetch(key), key);
  const value = { x: [1] };
  const write = reader.broadcast("v", value, { expect: null, metadata: { m: value.x } });
  value.x.push(2);
  await write;
  assert.deepEqual((await reader.fetch("v")).value, { x: [1] });
  await reader.close();
  for (const call of [() => reader.get("v"), () => reader.entry("v"), () => reader.list()]) assert.throws(call, { code: "closed" });
  rmSync(folder, { recursive: true });
});

withServer("a timeout ends the waiting, also where the server says nothing", async (server) => {
  const client = await connect(server.url, quiet);
  await client.live();
  server.process.kill("SIGSTOP");
  const startedAt = performance.now();
  await assert.rejects(client.broadcast("k", 1, { timeout: 200 }), { code: "timeout", message: /stays queued/ });
  await assert.rejects(client.fetch("k", { timeout: 200 }), { code: "timeout" });
  await assert.rejects(client.broadcast("k", 1, { expect: null, timeout: 200 }), { code: "outcome_unknown" });
  await assert.rejects(client.drained({ timeout: 200 }), { code: "timeout", message: /1 writes/ });
  assert.ok(performance.now() - startedAt < 5_000);
  server.process.kill("SIGCONT");
  await client.close();
});

test("one of many that start at once has an outbox", async () => {
  const folder = mkdtempSync(join(tmpdir(), "starling-outbox-"));
  const path = join(folder, "outbox");
  const program = `
    const { FileOutbox } = await import(process.env.MODULE);
    const outbox = new FileOutbox(process.env.OUTBOX);
    while (Date.now() < Number(process.env.AT));
    try {
      outbox.load();
      console.log("has");
      setTimeout(() => process.exit(0), 1500);
    } catch (error) {
      console.log(error.code);
    }`;
  for (let round = 0; round < 2; round++) {
    writeFileSync(`${path}.lock`, "pid 999999999");
    const env = { ...process.env, OUTBOX: path, AT: `${Date.now() + 700}`, MODULE: new URL("../src/file-outbox.js", import.meta.url).href };
    const children = Array.from({ length: 6 }, () => spawn(process.execPath, ["--input-type=module", "-e", program], { env }));
    const outputs = await Promise.all(
      children.map((child) => new Promise((resolve) => {
        let output = "";
        child.stdout.on("data", (data) => (output += data));
        child.on("close", () => resolve(output.trim()));
      })),
    );
    assert.deepEqual(outputs.sort(), ["has", ...Array(5).fill("outbox_failed")], outputs.join());
  }
  rmSync(folder, { recursive: true });
});

test("who asks for an outbox that is in use takes nothing from who uses it", async () => {
  const folder = mkdtempSync(join(tmpdir(), "starling-outbox-"));
  const outbox = new FileOutbox(join(folder, "outbox"));
  const client = await connect(nowhere, { ...quiet, outbox });
  await assert.rejects(connect(nowhere, { ...quiet, outbox }), { code: "outbox_failed" });
  client.broadcast("k", 1);
  assert.equal(client.pendingWrites().length, 1);
  assert.throws(() => new FileOutbox(join(folder, "outbox")).load(), { code: "outbox_failed" });
  await client.close({ timeout: 0 });
  rmSync(folder, { recursive: true });
});

test("a write that cannot be stamped anew is kept as it was", () => {
  const records = new Map();
  let isFull = false;
  const store = {
    put(record) {
      if (isFull) throw new Error("no space left");
      records.set(record.version, record);
    },
    remove: (version) => records.delete(version),
  };
  const failures = [];
  const outbox = new Outbox(store, (error) => failures.push(error));
  const write = outbox.add({ key: "k", version: "018bcfe56800-0000-me", value: "1" });
  isFull = true;
  outbox.restamp(write, "018bcfe56800-0000-other");
  assert.equal(failures.length, 1);
  assert.deepEqual([...records.keys()], ["018bcfe56800-0000-me"]);
  outbox.finish(write);
  assert.equal(records.size, 0);
});

withServer("a batch is applied whole or not at all, and gives up the claim that it names", async (server) => {
  const client = await connect(server.url, quiet);
  client.subscribe("*");
  const lease = await client.claim("lock", { ttl: 60 });
  const made = await client.batch([{ key: "a", value: { x: 1 }, expect: null }, { key: "b", value: null, ttl: 60 }], {
    require: [{ key: "lock", fence: lease.fence }, { key: "none", version: null }],
  });
  assert.equal(made.applied, true);
  assert.equal(made.last, made.first + 1);
  await until(() => client.entry("b")?.version === made.versions[1]);
  assert.deepEqual(client.get("a"), { x: 1 });
  const refused = await client.batch([{ key: "a", delete: true, expect: null }, { key: "c", value: 1 }]);
  assert.equal(refused.applied, false);
  assert.deepEqual(refused.failed.map(({ write, key, reason, current }) => [write, key, reason, current.version]), [[0, "a", "condition", made.versions[0]]]);
  assert.equal(await client.fetch("c"), undefined);
  const op = "0011223344556677";
  const done = await client.batch([{ key: "a", delete: true }, { key: "lock", release: lease.fence }], { op });
  assert.equal(lease.isHeld, false);
  assert.equal(await lease.ended, undefined);
  await client.broadcast("a", 2);
  assert.deepEqual(await client.batch([{ key: "a", delete: true }, { key: "lock", release: lease.fence }], { op }), done);
  assert.equal((await client.fetch("a")).value, 2);
  assert.equal((await client.request("get", { key: "a" })).value, 2);
  const other = await connect(server.url, quiet);
  await other.claim("lock", { ttl: 60 });
  await lease.release();
  await other.close();
  await assert.rejects(client.request("ping"), { code: "bad_option" });
  await assert.rejects(client.request("subscribe", { pattern: "*" }), { code: "bad_option" });
  await client.close();
  await assert.rejects(client.batch([{ key: "a", value: 1 }]), { code: "closed" });
});

withServer("a batch that would be another one is refused here", async (server) => {
  const client = await connect(server.url, quiet);
  const write = { key: "k", value: 1 };
  for (const [code, writes, options] of [
    ["bad_option", []], ["bad_option", undefined], ["bad_option", write], ["bad_option", Array(257).fill(write)],
    ["bad_option", [write, write]], ["bad_option", [{ ...write, timestamp: 1 }]], ["bad_option", [{ ...write, expect: undefined }]],
    ["bad_option", [{ key: "k", delete: true, value: 1 }]], ["bad_option", [{ key: "k", release: "1" }]], ["bad_option", [7]],
    ["bad_key", [{ value: 1 }]], ["bad_key", [{ key: "", value: 1 }]], ["bad_value", [{ key: "k" }]], ["bad_value", [{ ...write, ttl: 0 }]],
    ["bad_option", [write], { require: [{ key: "k" }] }], ["bad_option", [write], { require: [{ key: "k", version: undefined }] }],
    ["bad_option", [write], { require: [{ key: "k", version: null, fence: 1 }] }], ["bad_option", [write], { requires: [] }],
    ["bad_option", [write], { require: [{ key: "k", version: null }, { key: "k", version: null }] }], ["bad_option", [write], { op: "" }],
  ]) {
    await assert.rejects(client.batch(writes, options), { code }, JSON.stringify(writes));
  }
  assert.equal(await client.fetch("k"), undefined);
  await client.close();
});

withServer("a touch lets a key live longer, and is told as the register it is", async (server) => {
  const client = await connect(server.url, quiet);
  client.subscribe("k");
  const { version, expiresAt } = await client.broadcast("k", { x: 1 }, { ttl: 60 });
  assert.equal(await client.touch("k", 600), true);
  await until(() => (client.entry("k")?.expiresAt ?? 0) > expiresAt);
  assert.equal(client.entry("k").version, version);
  assert.equal(await client.touch("nothing", 600), false);
  await assert.rejects(client.touch("k"), { code: "bad_value" });
  await assert.rejects(client.touch("k", -1), { code: "bad_value" });
  await client.close();
});
