import { StarlingError } from "./errors.js";
import { byteLength, depth, hasControlCharacter } from "./text.js";

// What speaks against sending something is found out here: a server cannot tell which message it is that it cannot read.

/** How deep a message may nest (protocol/README.md). */
export const MAXIMUM_DEPTH = 128;
const LONGEST_KEY = 512;

/** Half a character of UTF-16: no UTF-8 has one, and so no frame. */
const LONE_SURROGATE = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/;
/** The same in JSON as `JSON.stringify` makes it: an escape, behind whole escapes of backslashes. */
const ESCAPED_SURROGATE = /(?:^|[^\\])(?:\\\\)*\\ud[89a-f]/;

/** For what is only read here, where a key that nobody could write is just not there. @throws {StarlingError} `bad_key` */
export function checkIsText(key) {
  if (typeof key !== "string") throw new StarlingError("bad_key", `a key is a text of 1 to ${LONGEST_KEY} bytes, not ${show(key)}`);
}

/** @throws {StarlingError} `bad_key` */
export function checkKey(key) {
  if (typeof key !== "string" || key === "") throw new StarlingError("bad_key", `a key is a text of 1 to ${LONGEST_KEY} bytes, not ${show(key)}`);
  if (LONE_SURROGATE.test(key)) throw new StarlingError("bad_key", `the key ${show(key)} has half a character`);
  const size = byteLength(key);
  if (size > LONGEST_KEY) throw new StarlingError("bad_key", `the key ${show(key.slice(0, 40))}… is ${size} bytes; the limit is ${LONGEST_KEY}`);
  if (hasControlCharacter(key)) throw new StarlingError("bad_key", `the key ${show(key)} has a control character`);
}

/** The JSON of a value. @throws {StarlingError} `bad_value`: it has none that a server would take */
export function toJSON(value, what) {
  let text;
  try {
    checkPlain(value, what);
    text = JSON.stringify(value, (name, each) => checkNumber(each, name === "" ? what : `${name} of ${what}`));
  } catch (error) {
    throw error instanceof StarlingError ? error : new StarlingError("bad_value", `${what} has no JSON: ${error.message}`);
  }
  if (text === undefined) throw new StarlingError("bad_value", `${what} has no JSON: ${String(value)}`);
  // The search is cheap, and nearly always enough.
  if (text.includes("\\ud") && ESCAPED_SURROGATE.test(text)) throw new StarlingError("bad_value", `${what} has half a character`);
  // The message around it is a level too.
  const problem = checkDepth(what, text, MAXIMUM_DEPTH - 1);
  if (problem) throw problem;
  return text;
}

/**
 * `JSON.stringify` makes `{}` of what holds its content elsewhere, and leaves functions out. What is undefined in an object stays
 * absent, as everywhere, and what has a `toJSON` says itself what it is.
 */
function checkPlain(value, what) {
  const kind = typeof value;
  if (kind === "function" || kind === "symbol") throw noJSON(what, value);
  if (kind !== "object" || value === null) return;
  if (Array.isArray(value)) return value.forEach((each) => checkPlain(each, what));
  if (typeof value.then === "function") throw new StarlingError("bad_value", `${what} has a promise; await it first`);
  if (typeof value.toJSON === "function") return checkMade(value, value.toJSON(), what);
  if (value instanceof Number || value instanceof Boolean || value instanceof String) return void checkNumber(value.valueOf(), what);
  const members = Object.values(value);
  // What has nothing of its own to show holds its content elsewhere: a Map, an Error, Headers, a generator.
  if ((members.length === 0 && !isPlain(value)) || value instanceof Error || ArrayBuffer.isView(value)) throw noJSON(what, value);
  for (const each of members) checkPlain(each, what);
}

/** What a `toJSON` made of a value. */
function checkMade(value, made, what) {
  const isLost = made === undefined || (made === null && value instanceof Date);
  if (isLost || (made !== value && typeof made === "object" && made !== null && !Array.isArray(made) && !isPlain(made))) throw noJSON(what, value);
  if (made !== value) checkPlain(made, what);
}

/** Whether an object is one of `{}`, of this realm or another, or has no prototype. */
function isPlain(value) {
  const prototype = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

function noJSON(what, value) {
  const name = typeof value === "object" ? value.constructor?.name || "an object" : show(value);
  return new StarlingError("bad_value", `${what} has no JSON: of ${name} nothing would be left`);
}

/**
 * The metadata of a write, or undefined: an object.
 *
 * @throws {StarlingError} `bad_value`
 */
export function packMetadata(metadata) {
  if (metadata === undefined) return undefined;
  if (typeof metadata !== "object" || Array.isArray(metadata)) throw new StarlingError("bad_value", `metadata is ${show(metadata)}; it is an object`);
  return toJSON(metadata, "metadata");
}

/**
 * What a write carries that is not queued: a condition that is none would be no condition.
 *
 * @throws {StarlingError} `bad_value`, `bad_option`
 */
export function checkConditions({ expect, fence, transient, version }) {
  const conditions = {};
  if (expect !== undefined) {
    if (expect !== null && typeof expect !== "string") throw new StarlingError("bad_value", `expect is ${show(expect)}; it is a version, or null for absent`);
    conditions.expect = expect;
  }
  if (fence !== undefined) {
    if (typeof fence?.key !== "string" || !Number.isSafeInteger(fence.token)) {
      const hint = typeof fence?.fence === "number" ? ": { key: lease.key, token: lease.fence }" : "";
      const shown = typeof fence === "object" && fence !== null ? `{ key: ${show(fence.key)}, token: ${show(fence.token)} }` : show(fence);
      throw new StarlingError("bad_value", `fence is ${shown}; it is the key of a claim and its token, a whole number${hint}`);
    }
    conditions.fence = { key: fence.key, token: fence.token };
  }
  checkBoolean("transient", transient);
  if (transient) conditions.transient = true;
  checkText("version", version, 128);
  if (version !== undefined) conditions.version = version;
  return conditions;
}

/** `JSON.stringify` makes null of what is no number. */
function checkNumber(value, what) {
  if (typeof value === "number" && !Number.isFinite(value)) throw new StarlingError("bad_value", `${what} has no JSON: it is ${value}`);
  return value;
}

/** @returns {StarlingError | undefined} */
export function checkTimeToLive(ttl) {
  if (ttl === undefined || ttl === null || (typeof ttl === "number" && Number.isFinite(ttl) && ttl > 0)) return undefined;
  return new StarlingError("bad_value", `ttl is ${show(ttl)}; it is in seconds, and more than 0`);
}

/** @param {string | undefined} text of JSON @returns {StarlingError | undefined} */
export function checkDepth(what, text, levels) {
  // Two characters a level are the least.
  if (text === undefined || text.length <= 2 * levels || depth(text) <= levels) return undefined;
  return new StarlingError("bad_value", `${what} nests more than ${levels} levels`);
}

/** @throws {StarlingError} `code` */
export function checkText(what, text, longest, code = "bad_value") {
  if (text === undefined || text === null) return;
  const isGood =
    typeof text === "string" && text !== "" && !LONE_SURROGATE.test(text) && !hasControlCharacter(text) && byteLength(text) <= longest;
  if (!isGood) throw new StarlingError(code, `${what} is ${show(text)}; it is a text of 1 to ${longest} bytes without control characters`);
}

/** The options without which a write is another one. */
const UNCONDITIONAL = { expect: "a version, or null where nothing may be in place", fence: "the key of a claim and its token" };
/** The options of which null says something. */
const NULLABLE = new Set(["expect", "value", "fence"]);

/**
 * An options object without what is undefined, once there is nothing in it that nobody knows: a mistyped condition is no
 * condition, and the write would be made without it.
 *
 * @param {Set<string>} known
 * @throws {StarlingError} `bad_option`
 */
export function checkOptions(what, options, known) {
  if (options === undefined || options === null) return {};
  if (typeof options !== "object" || Array.isArray(options) || !isPlain(options)) throw new StarlingError("bad_option", `the options of ${what} are ${show(options)}; they are an object`);
  const present = {};
  for (const [name, value] of Object.entries(options)) {
    if (!known.has(name)) {
      throw new StarlingError("bad_option", `${what} has no option ${JSON.stringify(name)}; there are ${[...known].join(", ")}`);
    }
    // Undefined is most often something that was looked for and not found, and the write would be made without a condition.
    if (value === undefined && UNCONDITIONAL[name]) throw new StarlingError("bad_option", `${name} is undefined; it is ${UNCONDITIONAL[name]}`);
    // As in most languages, null is what is not given; but where it says something.
    if (value !== undefined && (value !== null || NULLABLE.has(name))) present[name] = value;
  }
  return present;
}

/** @throws {StarlingError} `bad_option` */
export function checkFunction(name, value) {
  if (value !== undefined && typeof value !== "function") throw refuse(name, value, "a function");
}

/** @throws {StarlingError} `bad_option` */
export function checkBoolean(name, value) {
  if (value !== undefined && value !== null && typeof value !== "boolean") throw refuse(name, value, "true or false");
}

/** @throws {StarlingError} `bad_option` */
export function checkPositive(name, value, unit) {
  if (value === undefined || (typeof value === "number" && Number.isFinite(value) && value > 0)) return;
  throw refuse(name, value, `a number of ${unit}, and more than 0`);
}

/** The timeout to use. @throws {StarlingError} `bad_option` */
export function checkTimeout(value, standard) {
  if (value === undefined || value === null) return standard;
  if (typeof value !== "number" || !(value >= 0)) throw refuse("timeout", value, "a number of milliseconds, and not below 0");
  return value;
}

/** The error for an option that cannot be what it is. */
export function refuse(name, value, what) {
  return new StarlingError("bad_option", `${name} is ${show(value)}; it is ${what}`);
}

function show(value) {
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "function") return "a function";
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "object" && value !== null) return Array.isArray(value) ? "an array" : "an object";
  return String(value);
}
