// Keystrokes and scrolling are many, frames about them few.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ReadMarks, TypingTeller } from '../marks.js';
import { Line, ROOM, settle } from './fakes.mjs';

async function typist() {
  const line = new Line();
  await line.online();
  return { line, typing: new TypingTeller({ connection: line.connection, clock: line.clock }) };
}

test('typing is said once in two seconds, however fast one types', async () => {
  const { line, typing } = await typist();
  for (let tenth = 0; tenth < 40; tenth++) {
    typing.changed(ROOM, 'd'.repeat(tenth + 1));
    await line.clock.advance(100);
  }
  assert.deepEqual(line.socket.all('typing'), Array(2).fill({ kind: 'typing', room: ROOM, active: true }));
});

test('an emptied draft, and another room, end it', async () => {
  const { line, typing } = await typist();
  typing.changed(ROOM, 'd');
  typing.changed(ROOM, '');
  typing.changed(ROOM, '');
  typing.changed(ROOM, 'd');
  typing.changed('another', 'd');
  assert.deepEqual(
    line.socket.all('typing').map(({ room, active }) => [room, active]),
    [[ROOM, true], [ROOM, false], [ROOM, true], [ROOM, false], ['another', true]],
  );
});

async function reader() {
  const line = new Line();
  await line.online();
  const marked = [];
  const failures = [];
  const on = { marked: (room, ack) => marked.push(ack.seq), failed: (error) => failures.push(error.code) };
  return { line, marked, failures, marks: new ReadMarks({ connection: line.connection, on }) };
}

test('one marker is in flight, and the newest follows it', async () => {
  const { line, marked, marks } = await reader();
  for (const seq of [3, 4, 4, 5]) marks.seen(ROOM, seq);
  assert.deepEqual(line.socket.all('mark_read').map(({ seq }) => seq), [3]);
  await line.answer('mark_read', { kind: 'ack', seq: 3, ordinal: 2, at_ms: 0 });
  assert.deepEqual(line.socket.all('mark_read').map(({ seq }) => seq), [3, 5]);
  await line.answer('mark_read', { kind: 'ack', seq: 5, ordinal: 4, at_ms: 0 });
  marks.seen(ROOM, 5);
  assert.deepEqual(marked, [3, 5]);
  assert.equal(line.socket.all('mark_read').length, 2);
});

test('a marker cut off by a loss is said again', async () => {
  const { line, marks, failures } = await reader();
  marks.seen(ROOM, 3);
  line.socket.lose();
  await settle();
  await line.clock.advance(500);
  await line.welcome();
  marks.resume();
  marks.seen(ROOM, 3);
  assert.equal(line.socket.last('mark_read').seq, 3);
  assert.deepEqual(failures, []);
});

test('a refused marker is told once, not at every glance', async () => {
  const { line, marks, failures } = await reader();
  marks.seen(ROOM, 3);
  await line.refuse('mark_read', 202);
  marks.seen(ROOM, 3);
  assert.deepEqual(failures, [202]);
  assert.equal(line.socket.all('mark_read').length, 1);
});
