// Five clients in JavaScript: takes a line of JSON for each event, and prints a line of JSON in the end.
import { createInterface } from "node:readline";
import { FileOutbox } from "../javascript/src/file-outbox.js";
import { connect } from "../javascript/src/index.js";
import { WebSocket } from "../javascript/test/support.js";

const [urls, folder] = [process.argv[2].split(","), process.argv[3]];
const clients = await Promise.all(
  urls.map((url, index) => connect(url, { agent: `javascript-${index}`, outbox: new FileOutbox(`${folder}/javascript-${index}`), WebSocket, log: () => {} })),
);
for (const client of clients) client.subscribe("shared:*", () => {});
const outcomes = [];
let settling = false;
for await (const line of createInterface({ input: process.stdin })) {
  const event = JSON.parse(line);
  if (settling) {
    console.log(JSON.stringify(clients.map((client) => client.list().map(({ key, version, value }) => [key, version, value]))));
  } else if (event.settle) {
    settling = true;
    const settled = await Promise.all(outcomes);
    await Promise.all(clients.map((client) => client.live()));
    const applied = settled.filter(({ status }) => status === "applied").map(({ key, version }) => [key, version]);
    console.log(JSON.stringify({ applied, count: settled.length }));
  } else {
    const client = clients[event.client];
    outcomes.push(event.value === null ? client.delete(event.key) : client.broadcast(event.key, event.value, { ttl: event.ttl }));
  }
}
for (const client of clients) await client.close();
