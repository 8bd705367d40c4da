import { checkBoolean, checkConditions, checkKey, checkOptions, checkText, checkTimeToLive, packMetadata, refuse, toJSON } from "./check.js";
import { StarlingError } from "./errors.js";

/** How many writes a batch may have, and how many requirements (protocol/README.md). */
const MAXIMUM_MEMBERS = 256;
const WRITE_FIELDS = new Set(["key", "value", "ttl", "metadata", "session", "expect", "delete"]);
const DELETE_FIELDS = new Set(["key", "delete", "metadata", "session", "expect"]);
const RELEASE_FIELDS = new Set(["key", "release"]);
const REQUIRE_FIELDS = new Set(["key", "version", "fence"]);

/**
 * A batch as it is sent, as it is now: the caller may change its values before it is.
 *
 * @throws {StarlingError} `bad_key`, `bad_value`, `bad_option`
 */
export function packBatch(writes, require, op) {
  checkText("op", op, 128, "bad_option");
  const keys = new Set();
  const packed = list("writes", writes, 1).map((write, index) => within(`writes[${index}]`, () => packWrite(write, keys)));
  const required = new Set();
  const requirements = list("require", require ?? [], 0).map((one, index) => within(`require[${index}]`, () => packRequirement(one, required)));
  return { type: "batch", op, require: requirements, writes: packed };
}

function list(name, value, least) {
  if (Array.isArray(value) && value.length >= least && value.length <= MAXIMUM_MEMBERS) return value;
  const what = Array.isArray(value) ? `has ${value.length}` : "is no array";
  throw new StarlingError("bad_option", `${name} ${what}; a batch has ${least} to ${MAXIMUM_MEMBERS}, in an array`);
}

function within(place, pack) {
  try {
    return pack();
  } catch (error) {
    if (error instanceof StarlingError) error.message = `${place}: ${error.message}`;
    throw error;
  }
}

function packWrite(write, keys) {
  const isRelease = write?.release !== undefined;
  const isDelete = !isRelease && write?.delete === true;
  const known = isRelease ? RELEASE_FIELDS : isDelete ? DELETE_FIELDS : WRITE_FIELDS;
  const { key, value, ttl, metadata, session, expect, release } = checkOptions(isRelease ? "a release" : isDelete ? "a delete" : "a write", checkObject(write), known);
  checkOnce(key, keys);
  if (isRelease) return { key, release: checkFence("release", release) };
  checkText("session", session, 128);
  const packed = packMetadata(metadata);
  const fields = { key, metadata: packed && JSON.parse(packed), session, ...checkConditions({ expect }) };
  if (isDelete) return { ...fields, delete: true };
  checkBoolean("delete", write.delete);
  const problem = checkTimeToLive(ttl);
  if (problem) throw problem;
  return { ...fields, ttl, value: JSON.parse(toJSON(value, `the value of ${key}`)) };
}

function packRequirement(one, keys) {
  // A version that was looked for and not found is none that is required to be absent.
  if (one !== null && typeof one === "object" && "version" in one && one.version === undefined) throw refuse("version", undefined, "a version, or null for absent");
  const { key, fence } = checkOptions("a requirement", checkObject(one), REQUIRE_FIELDS);
  checkOnce(key, keys);
  const hasVersion = "version" in one;
  if (hasVersion === (fence !== undefined && fence !== null)) {
    throw new StarlingError("bad_option", "a requirement has either `version` (null: absent) or `fence` of a claim");
  }
  if (!hasVersion) return { key, fence: checkFence("fence", fence) };
  if (one.version !== null && typeof one.version !== "string") throw refuse("version", one.version, "a version, or null for absent");
  return { key, version: one.version };
}

function checkObject(value) {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value;
  throw new StarlingError("bad_option", `it is ${JSON.stringify(value)}; it must be an object`);
}

function checkOnce(key, keys) {
  checkKey(key);
  if (keys.has(key)) throw new StarlingError("bad_option", `${JSON.stringify(key)} stands twice`);
  keys.add(key);
}

function checkFence(name, fence) {
  if (Number.isSafeInteger(fence) && fence > 0) return fence;
  throw refuse(name, fence, "the fence of a claim, a whole number: lease.fence");
}
