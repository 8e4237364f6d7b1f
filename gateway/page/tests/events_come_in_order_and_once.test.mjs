// Whatever order events arrive in and however often, a room shows each once, in the order of their seqs.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { HELD_MAX, RoomLog } from '../log.js';
import { message, seqs } from './fakes.mjs';

test('an early event waits for those before it', () => {
  const log = new RoomLog(0);
  for (const seq of [1, 3, 4]) log.take(message(seq));
  assert.deepEqual(seqs(log.events), [1]);
  assert.equal(log.hasGap, true);
  log.take(message(2));
  assert.deepEqual(seqs(log.events), [1, 2, 3, 4]);
  assert.equal(log.hasGap, false);
});

test('a duplicate is dropped, whether it is held or waits', () => {
  const log = new RoomLog(0);
  assert.equal(log.take(message(1)), true);
  assert.equal(log.take(message(1)), false);
  assert.equal(log.take(message(3)), true);
  assert.equal(log.take(message(3)), false);
  assert.deepEqual(seqs(log.events), [1]);
});

test('every order of five events gives the same log', () => {
  for (const order of permutations([1, 2, 3, 4, 5])) {
    const log = new RoomLog(0);
    for (const seq of order) log.take(message(seq));
    assert.deepEqual(seqs(log.events), [1, 2, 3, 4, 5], `arrived as ${order}`);
  }
});

test('early events beyond the bound are dropped and can come again', () => {
  const log = new RoomLog(0);
  for (let seq = 2; seq <= 1_101; seq++) log.take(message(seq));
  log.take(message(1));
  assert.equal(log.last, 1_001);
  log.take(message(1_002));
  assert.equal(log.last, 1_002);
});

test('no more is held than the bound; the oldest go first, and can be loaded again', () => {
  const log = new RoomLog(0);
  for (let seq = 1; seq <= HELD_MAX + 1; seq++) log.take(message(seq));
  assert.deepEqual([log.after, log.last, log.isFull, log.hasOlder], [1, HELD_MAX + 1, true, true]);
});

test('older events go before those held, unless they leave a hole', () => {
  const log = new RoomLog(3);
  log.take(message(4));
  assert.equal(log.prepend([message(1), message(2)]), false);
  assert.equal(log.prepend([message(2), message(3)]), true);
  assert.deepEqual(seqs(log.events), [2, 3, 4]);
  assert.equal(log.at(3).seq, 3);
  assert.equal(log.hasOlder, true);
});

test('a snapshot starts over and keeps what came early', () => {
  const log = new RoomLog(0);
  for (const seq of [1, 12, 10]) log.take(message(seq));
  log.restart(9);
  assert.deepEqual(seqs(log.events), [10]);
  log.take(message(11));
  assert.deepEqual(seqs(log.events), [10, 11, 12]);
  assert.equal(log.hasOlder, false);
});

function permutations(items) {
  if (items.length < 2) return [items];
  return items.flatMap((item, index) => permutations(items.toSpliced(index, 1)).map((rest) => [item, ...rest]));
}
