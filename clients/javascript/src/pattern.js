import { StarlingError } from "./errors.js";
import { byteLength, hasControlCharacter } from "./text.js";

const MAXIMUM_LENGTH = 1024;
const MAXIMUM_WILDCARDS = 16;
const ONE = Symbol("one scalar within a segment");
const SEGMENT = Symbol("any run within a segment");
const ANY = Symbol("any run");

/** A pattern over keys: protocol/README.md, Patterns. */
export class Pattern {
  #exact;
  #prefix;
  #tokens;

  /** @throws {StarlingError} `bad_pattern`, saying what is wrong with it */
  constructor(text) {
    this.text = text;
    check(text);
    const tokens = tokenize(text);
    const wildcard = tokens.findIndex((token) => typeof token === "symbol");
    if (wildcard < 0) this.#exact = tokens.join("");
    else if (wildcard === tokens.length - 1 && tokens[wildcard] === ANY) this.#prefix = tokens.slice(0, -1).join("");
    else this.#tokens = tokens;
  }

  /** The one key that it matches; undefined where there may be others. */
  get exact() {
    return this.#exact;
  }

  /** Whether a key matches. Costs a comparison for exact and prefix patterns, else O(pattern × key) at worst. */
  matches(key) {
    if (this.#exact !== undefined) return key === this.#exact;
    if (this.#prefix !== undefined) return key.startsWith(this.#prefix);
    return this.#walk(key);
  }

  /** `row[j]` says whether the first `j` tokens match the scalars seen so far; a row for each scalar of the key. */
  #walk(key) {
    const tokens = this.#tokens;
    const row = new Uint8Array(tokens.length + 1);
    row[0] = 1;
    for (let column = 0; column < tokens.length && isRun(tokens[column]); column++) row[column + 1] = 1;
    for (const scalar of key) {
      let before = row[0];
      let alive = 0;
      row[0] = 0;
      for (let column = 0; column < tokens.length; column++) {
        const was = row[column + 1];
        const token = tokens[column];
        let now;
        if (token === ANY) now = row[column] | was;
        else if (token === SEGMENT) now = row[column] | (was & (scalar !== ":"));
        else if (token === ONE) now = before & (scalar !== ":");
        else now = before & (scalar === token);
        row[column + 1] = now;
        alive |= now;
        before = was;
      }
      if (!alive) return false;
    }
    return row[tokens.length] === 1;
  }
}

const isRun = (token) => token === ANY || token === SEGMENT;

function fail(text, problem) {
  throw new StarlingError("bad_pattern", `the pattern ${JSON.stringify(text)} ${problem}`);
}

function check(text) {
  if (typeof text !== "string") throw new StarlingError("bad_pattern", `a pattern is a text, not a ${text === null ? "null" : typeof text}`);
  if (text === "") fail(text, "is empty; * matches every key");
  if (byteLength(text) > MAXIMUM_LENGTH) fail(text.slice(0, 40), `is ${byteLength(text)} bytes; the limit is ${MAXIMUM_LENGTH}`);
  if (hasControlCharacter(text)) fail(text, "has a control character");
}

/** One token for each scalar or wildcard. */
function tokenize(text) {
  const scalars = [...text];
  const tokens = [];
  let wildcards = 0;
  for (let index = 0; index < scalars.length; ) {
    const scalar = scalars[index];
    if (scalar === "\\") {
      if (index + 1 === scalars.length) fail(text, "ends with a \\ that escapes nothing");
      tokens.push(scalars[index + 1]);
      index += 2;
    } else if (scalar === "?") {
      tokens.push(ONE);
      wildcards++;
      index++;
    } else if (scalar === "*") {
      let stars = 1;
      while (scalars[index + stars] === "*") stars++;
      if (stars > 2) fail(text, "has more than two stars in a row");
      index += stars;
      // At the end of the pattern a single star reaches over segments too.
      tokens.push(stars === 2 || index === scalars.length ? ANY : SEGMENT);
      wildcards++;
    } else {
      tokens.push(scalar);
      index++;
    }
  }
  if (wildcards > MAXIMUM_WILDCARDS) fail(text, `has ${wildcards} wildcards; the limit is ${MAXIMUM_WILDCARDS}`);
  return tokens;
}
