/**
 * Compares two texts by their UTF-8 bytes, as servers and SQL do. JavaScript's own order is by UTF-16 code units, which puts
 * surrogates before U+E000…U+FFFF.
 *
 * @returns {number} less than, equal to, or greater than 0
 */
export function compareText(a, b) {
  if (a === b) return 0;
  const length = Math.min(a.length, b.length);
  for (let index = 0; index < length; index++) {
    const x = a.charCodeAt(index);
    const y = b.charCodeAt(index);
    if (x !== y) return rank(x) - rank(y);
  }
  return a.length - b.length;
}

const rank = (unit) => (unit < 0xd800 ? unit : unit < 0xe000 ? unit + 0x2000 : unit - 0x800);

const encoder = new TextEncoder();

/** The length of a text in bytes of UTF-8. */
export const byteLength = (text) => encoder.encode(text).length;

/** Whether a text has a character of Unicode's category Cc. */
export const hasControlCharacter = (text) => /[\u0000-\u001f\u007f-\u009f]/.test(text);

/**
 * The text of one field of a JSON object, byte for byte as it stands there; undefined where there is none. `JSON.parse` gives
 * values only, and the merge rule compares texts. Costs a walk over the object: it is for the rare ties.
 *
 * @param {string} json a valid JSON object
 * @param {string} name
 */
export function rawField(json, name) {
  let index = skipSpace(json, json.indexOf("{") + 1);
  while (json[index] === '"') {
    const nameEnd = endOfString(json, index);
    const found = JSON.parse(json.slice(index, nameEnd)) === name;
    const start = skipSpace(json, skipSpace(json, nameEnd) + 1);
    const end = endOfValue(json, start);
    if (found) return json.slice(start, end);
    index = skipSpace(json, end);
    if (json[index] === ",") index = skipSpace(json, index + 1);
  }
  return undefined;
}

function skipSpace(json, index) {
  while (index < json.length && " \t\r\n".includes(json[index])) index++;
  return index;
}

function endOfString(json, start) {
  let index = start + 1;
  while (json[index] !== '"') index += json[index] === "\\" ? 2 : 1;
  return index + 1;
}

function endOfValue(json, start) {
  let depth = 0;
  let index = start;
  while (index < json.length) {
    const character = json[index];
    if (character === '"') {
      index = endOfString(json, index);
      if (depth === 0) return index;
      continue;
    }
    if (character === "{" || character === "[") depth++;
    if (character === "}" || character === "]") {
      // The bracket that closes the object around a number or a word.
      if (depth === 0) break;
      depth--;
      if (depth === 0) return index + 1;
    }
    if (depth === 0 && (character === "," || " \t\r\n".includes(character))) break;
    index++;
  }
  return index;
}

/** How many objects and arrays stand in each other in a text of JSON. */
export function depth(json) {
  let deepest = 0;
  let open = 0;
  for (let index = 0; index < json.length; index++) {
    const character = json[index];
    if (character === '"') index = endOfString(json, index) - 1;
    else if (character === "{" || character === "[") deepest = Math.max(deepest, ++open);
    else if (character === "}" || character === "]") open--;
  }
  return deepest;
}
