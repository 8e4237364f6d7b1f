// The codec agrees with the golden vectors, both ways. Run: node --test loadtest/k6/tests/*.test.mjs

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { decodeAll, encode, uuid } from "../codec.js";

const vectors = (file) => JSON.parse(readFileSync(new URL(`../../../protocol/vectors/${file}`, import.meta.url)));
const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const bytes = (text) => Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
/** Without fields that say nothing. */
const bare = (value) => JSON.parse(JSON.stringify(value, (_, field) => (field === null ? undefined : field)));

for (const file of ["frames.json", "events.json"]) {
  for (const { name, hex: wire, json } of vectors(file)) {
    test(`${file}: ${name}`, () => {
      assert.equal(hex(encode(json)), wire);
      const [frame, ...more] = decodeAll(bytes(wire));
      assert.equal(more.length, 0);
      assert.deepEqual({ ...(json.kind === "ping" ? { heads: [] } : {}), ...bare(frame) },
        { ...(json.kind === "ping" ? { heads: [] } : {}), ...bare(json) });
    });
  }
}

test("a message may hold several frames", () => {
  const frames = [{ kind: "pong", stamp: 7 }, { kind: "typing", room: uuid(), active: true }];
  assert.deepEqual(decodeAll(bytes(frames.map((frame) => hex(encode(frame))).join(""))), frames);
});

test("what ends too early is refused", () => {
  const whole = encode({ kind: "send", request: 1, room: uuid(), client_id: uuid(), text: "ding ✓ 🔔" });
  for (let end = 1; end < whole.length; end += 1) assert.throws(() => decodeAll(whole.subarray(0, end)));
  assert.equal(decodeAll(whole)[0].text, "ding ✓ 🔔");
});
