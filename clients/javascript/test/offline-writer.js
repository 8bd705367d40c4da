// Writes a thousand keys without a server, and waits to be killed.
import { FileOutbox } from "../src/file-outbox.js";
import { connect } from "../src/index.js";
import { WebSocket } from "./support.js";

const [url, path] = process.argv.slice(2);
const sync = await connect(url, { agent: "killed", outbox: new FileOutbox(path), WebSocket, log: () => {} });
for (let index = 0; index < 1000; index++) sync.broadcast(`offline:${index}`, index);
console.log("written");
