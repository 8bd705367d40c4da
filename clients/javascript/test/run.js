// Runs the tests on whatever Node there is: 22 and later have a WebSocket, 20 has one behind a flag.
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

const folder = fileURLToPath(new URL(".", import.meta.url));
const [major, minor] = process.versions.node.split(".").map(Number);
const hasFlag = major === 21 || (major === 20 && minor >= 10);
const hasTimeout = major > 21 || (major === 21 && minor >= 2) || (major === 20 && minor >= 11);
const files = readdirSync(folder).filter((name) => name.endsWith(".test.js") && (process.argv.length < 3 || process.argv.includes(name)));
const result = spawnSync(
  process.execPath,
  [...(hasFlag ? ["--experimental-websocket", "--no-warnings"] : []), "--test", ...(hasTimeout ? ["--test-timeout=120000"] : []), "--test-reporter=spec", ...files.map((name) => folder + name)],
  { stdio: "inherit" },
);
process.exit(result.status ?? 1);
