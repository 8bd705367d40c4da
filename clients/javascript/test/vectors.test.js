import assert from "node:assert/strict";
import { test } from "node:test";
import { Clock, formatVersion, parseVersion } from "../src/clock.js";
import { Pattern } from "../src/pattern.js";
import { Register } from "../src/register.js";
import { compareText } from "../src/text.js";
import { Player } from "./play.js";
import { vectors } from "./support.js";

test("patterns", () => {
  const { matches, invalid } = vectors("patterns");
  assert.ok(matches.length > 20 && invalid.length > 5);
  for (const { pattern, key, matches: expected } of matches) {
    assert.equal(new Pattern(pattern).matches(key), expected, `${pattern} and ${key}`);
  }
  for (const { pattern, reason } of invalid) assert.throws(() => new Pattern(pattern), { code: "bad_pattern" }, reason);
});

test("clocks", () => {
  for (const { name, steps } of vectors("clocks").cases) {
    const clock = new Clock();
    for (const { tick, receive, stamp } of steps) {
      if (receive) clock.receive(...receive);
      else assert.deepEqual(Object.values(clock.tick(tick)), stamp, name);
    }
  }
});

test("a fraction of a millisecond does not repeat a stamp", () => {
  const clock = new Clock();
  const stamps = [1000.2, 1000.9, 1001.1].map((now) => Object.values(clock.tick(now)));
  assert.deepEqual(stamps, [[1000, 0], [1000, 1], [1001, 0]]);
});

test("versions", () => {
  const { rising, invalid } = vectors("versions");
  for (const [index, text] of rising.entries()) {
    assert.equal(formatVersion(parseVersion(text), parseVersion(text).agent), text);
    if (index > 0) assert.ok(compareText(rising[index - 1], text) < 0, text);
  }
  for (const text of invalid) assert.throws(() => parseVersion(text), { code: "bad_version" }, text);
});

test("merges", () => {
  const { cases, same } = vectors("merges");
  const register = ({ value, metadata, ...fields }) => {
    const json = JSON.stringify(fields).slice(0, -1) + (value ? `,"value":${value}` : "") + (metadata ? `,"metadata":${metadata}` : "") + "}";
    return Register.fromWire(JSON.parse(json), json, "k");
  };
  for (const { name, less, greater } of cases) {
    assert.ok(Register.compare(register(less), register(greater)) < 0, name);
    assert.ok(Register.compare(register(greater), register(less)) > 0, name);
  }
  for (const { name, a, b } of same) assert.equal(Register.compare(register(a), register(b)), 0, name);
});

for (const transcript of vectors("clients").transcripts) {
  test(`transcript: ${transcript.name}`, async () => {
    const player = new Player(transcript);
    for (const [index, step] of transcript.steps.entries()) {
      try {
        await player.step(step);
      } catch (error) {
        error.message = `step ${index + 1}, ${JSON.stringify(step)}: ${error.message}`;
        throw error;
      }
    }
  });
}
