// What the READMEs show is run as it stands there.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Swarm, connect } from "../src/index.js";
import { Server, WebSocket, hasServer } from "./support.js";

const AsyncFunction = (async () => {}).constructor;

function blocksOf(file) {
  const text = readFileSync(new URL(file, import.meta.url), "utf8");
  return [...text.matchAll(/^```js\n(.*?)^```$/gms)].map(([, code]) => code);
}

/** A block as the body of a function: what it imports is given to it, and an ellipsis stands for something of the reader's. */
function body(code) {
  return code
    .replace(/^import .*$/gm, "")
    .replace(/^(for await .*\)) …/gm, "$1 break;")
    .replace("(state) => …", "(state) => {}");
}

/** Gives the worker that a block is a task, and has it done: a worker goes on until its client is closed. */
async function employ(client, block) {
  const swarm = new Swarm(client, "demo");
  await swarm.init();
  const [task] = await swarm.submit([{ input: "text" }]);
  const done = (async () => {
    for await (const update of client.subscribe(`swarm:demo:task:${task}:result`)) return update.value;
  })();
  assert.equal(await Promise.race([done, block]), 4);
  // It ends with its client, as it is to.
  block.catch(() => {});
}

for (const file of ["../README.md", "../../../README.md"]) {
  blocksOf(file).forEach((code, number) => {
    test(`block ${number + 1} of ${file} runs`, { skip: !hasServer && "no server is built", timeout: 30_000 }, async () => {
      const server = await Server.start();
      const clients = [];
      const open = async (_url, options) => {
        clients.push(await connect(server.url, { ...options, WebSocket, log: () => {} }));
        return clients.at(-1);
      };
      try {
        const given = { Swarm, connect: open, stopWorking: () => {}, document: { title: "a tab" }, console: { log: () => {} } };
        if (!code.includes("const sync")) {
          given.sync = await open(server.url, {});
          // Something to wait for.
          await given.sync.broadcast("task:42:status", { state: "done" });
        }
        const block = new AsyncFunction(...Object.keys(given), body(code))(...Object.values(given));
        if (code.includes(".work(")) await employ(await open(server.url, {}), block);
        else await block;
      } finally {
        for (const client of clients) await client.close();
        await server.stop();
      }
    });
  });
}

test("there are blocks to run", () => {
  assert.ok(blocksOf("../README.md").length >= 2);
  assert.ok(blocksOf("../../../README.md").length >= 1);
});
