import { checkFunction, checkOptions, checkPositive, checkText, refuse } from "./check.js";
import { StarlingError } from "./errors.js";
import { MemoryOutbox } from "./outbox.js";
import { chooseByDefault } from "./writer.js";

const DEFAULTS = {
  outboxLimit: 100_000,
  pingInterval: 10_000,
  pingTimeout: 5_000,
  probeInterval: 30_000,
  refusedDelay: 5_000,
  onRefused: (_write, error) => chooseByDefault(error),
  log: (level, message) => (level === "error" || level === "warn" ? console.warn(`starling: ${message}`) : undefined),
  now: () => performance.now(),
  wall: () => Date.now(),
  random: Math.random,
};
const FUNCTIONS = ["onRefused", "log", "now", "wall", "random", "WebSocket"];
const TIMES = ["pingInterval", "pingTimeout", "probeInterval", "refusedDelay"];
const KNOWN = new Set(["agent", "session", "token", "outbox", "outboxLimit", ...TIMES, ...FUNCTIONS]);

/**
 * The options of a client, whole, once there is nothing wrong with them.
 *
 * @throws {StarlingError} `bad_option`, `bad_agent`, `bad_value`, `bad_url`
 */
export function completeOptions(urls, options) {
  const given = checkOptions("connect", options, KNOWN);
  checkText("agent", given.agent, 64, "bad_agent");
  checkText("session", given.session, 128);
  for (const name of FUNCTIONS) checkFunction(name, given[name]);
  for (const name of TIMES) checkPositive(name, given[name], "milliseconds");
  checkPositive("outboxLimit", given.outboxLimit, "writes");
  checkToken(given.token);
  checkOutbox(given.outbox);
  const all = { ...DEFAULTS, ...given, urls: [urls].flat(), outbox: given.outbox ?? new MemoryOutbox() };
  if (all.urls.length === 0) throw new StarlingError("bad_url", "connect needs the URL of a server, such as ws://127.0.0.1:7827/sync");
  all.urls = [...new Set(all.urls.map(completeURL))];
  return all;
}

function checkToken(token) {
  if (token !== undefined && typeof token !== "string" && typeof token !== "function") {
    throw refuse("token", token, "a text, or a function that gives one");
  }
}

function checkOutbox(outbox) {
  if (outbox === undefined) return;
  if (["load", "put", "remove", "close"].every((name) => typeof outbox[name] === "function")) return;
  throw refuse("outbox", outbox, "an outbox such as new FileOutbox(path)");
}

function completeURL(text) {
  let url;
  try {
    url = new URL(text);
  } catch {
    throw new StarlingError("bad_url", `${text} is no URL like ws://127.0.0.1:7827/sync`);
  }
  if (url.hash) throw new StarlingError("bad_url", `${text} has a fragment, which a WebSocket cannot have`);
  if (!["ws:", "wss:"].includes(url.protocol)) throw new StarlingError("bad_url", `${text} does not begin with ws:// or wss://`);
  if (url.pathname === "/") url.pathname = "/sync";
  return url.href;
}
