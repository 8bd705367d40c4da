import { connect } from "../javascript/src/index.js";
import { WebSocket } from "../javascript/test/support.js";

const [url, count] = [process.argv[2], Number(process.argv[3])];
const options = { WebSocket, log: () => {} };
const writer = await connect(url, options);
await writer.live();
const value = "x".repeat(128);
const seconds = async (body) => {
  const start = performance.now();
  await body();
  return (performance.now() - start) / 1000;
};
const writing = await seconds(async () => {
  for (let index = 0; index < count; index++) writer.broadcast(`javascript:${index}`, value);
  await writer.drained();
});
const reader = await connect(url, options);
await reader.live();
const reading = await seconds(async () => {
  let told = 0;
  await new Promise((resolve) => reader.subscribe("javascript:*", () => ++told === count && resolve()));
});
console.log(`| JavaScript, Node ${process.versions.node} | ${Math.round(count / writing)} | ${Math.round(count / reading)} |`);
await writer.close();
await reader.close();
