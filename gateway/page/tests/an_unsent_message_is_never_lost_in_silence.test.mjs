// A message is shown at once, sent until it is acknowledged, always under the same id, kept over a reload, and ends
// as sent or as failed with a reason.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { backoffMs } from '../connection.js';
import { AGE_MAX_MS, FAILED_KEPT_MS, Outbox, TRIES_MAX, WAITING_MAX } from '../outbox.js';
import { FakeStorage, Line, message, ROOM, settle } from './fakes.mjs';

const ACK = { kind: 'ack', seq: 7, ordinal: 6, at_ms: 1234 };

function outboxOn(line, storage = new FakeStorage()) {
  let ids = 0;
  const sent = [];
  const outbox = new Outbox({
    connection: line.connection,
    storage,
    clock: line.clock,
    random: () => 1,
    newId: () => `id-${++ids}`,
    on: { changed() {}, failed() {}, sent: (event) => sent.push(event) },
  });
  return { outbox, sent, storage };
}

async function ready() {
  const line = new Line();
  await line.online();
  const parts = outboxOn(line);
  parts.outbox.resume(1);
  return { line, ...parts };
}

test('it is there before the gateway knows, and becomes the event that the ack describes', async () => {
  const { line, outbox, sent, storage } = await ready();
  outbox.send(ROOM, 'ding');
  assert.deepEqual(outbox.of(ROOM).map(({ text, state }) => [text, state]), [['ding', 'pending']]);
  await line.answer('send', ACK);
  assert.deepEqual(sent, [
    { kind: 'event', room: ROOM, seq: 7, ordinal: 6, at_ms: 1234, sender: 1, event: 'message', client_id: 'id-1', text: 'ding' },
  ]);
  assert.deepEqual(outbox.of(ROOM), []);
  assert.equal(storage.length, 0);
});

test('a room gets one at a time, in the order they were written in', async () => {
  const { line, outbox } = await ready();
  for (const text of ['one', 'two', 'three']) outbox.send(ROOM, text);
  for (const text of ['one', 'two', 'three']) {
    assert.equal(line.socket.last('send').text, text);
    await line.answer('send', ACK);
  }
  assert.equal(line.socket.all('send').length, 3);
});

test('after a lost connection it is sent again under the same id', async () => {
  const { line, outbox } = await ready();
  outbox.send(ROOM, 'ding');
  const { client_id } = line.socket.last('send');
  line.socket.lose();
  await line.clock.advance(500);
  await line.welcome();
  outbox.resume(1);
  assert.equal(line.socket.last('send').client_id, client_id);
  await line.answer('send', ACK);
  assert.deepEqual(outbox.of(ROOM), []);
});

test('written without a connection it waits for one', async () => {
  const { line, outbox } = await ready();
  line.socket.lose();
  outbox.send(ROOM, 'ding');
  await settle();
  assert.equal(outbox.of(ROOM)[0].state, 'pending');
  await line.clock.advance(500);
  await line.welcome();
  outbox.resume(1);
  assert.equal(line.socket.last('send').text, 'ding');
});

test('the event may come before the ack, or instead of it', async () => {
  const { line, outbox } = await ready();
  outbox.send(ROOM, 'ding');
  outbox.arrived(message(7, { sender: 1, client_id: 'id-1' }));
  assert.deepEqual(outbox.of(ROOM), []);
  line.socket.lose();
  await line.clock.advance(500);
  await line.welcome();
  outbox.resume(1);
  assert.equal(line.socket.all('send').length, 0);
});

test('a reload takes up what was unsent, each user their own', async () => {
  const { line, outbox, storage } = await ready();
  line.socket.lose();
  outbox.send(ROOM, 'ding');
  await line.clock.advance(500);
  await line.welcome();
  const { outbox: other } = outboxOn(line, storage);
  other.resume(2);
  assert.deepEqual(other.of(ROOM), []);
  const { outbox: again } = outboxOn(line, storage);
  again.resume(1);
  assert.deepEqual([line.socket.last('send').client_id, line.socket.last('send').text], ['id-1', 'ding']);
});

test('what the storage holds of somebody else, or nonsense, harms nothing', async () => {
  const line = new Line();
  await line.online();
  const storage = new FakeStorage();
  storage.setItem('carillon.unsent.1.x', '{"room":');
  storage.setItem('carillon.unsent.1.y', '{"room":3}');
  storage.setItem('something else', 'entirely');
  const { outbox } = outboxOn(line, storage);
  outbox.resume(1);
  assert.deepEqual(outbox.of(ROOM), []);
});

test('"come back" is tried later and later, then fails with the reason; a retry keeps the id', async () => {
  const { line, outbox } = await ready();
  outbox.send(ROOM, 'ding');
  for (let tries = 1; tries <= TRIES_MAX; tries++) {
    assert.equal(line.socket.all('send').length, tries);
    await line.refuse('send', 100);
    await line.clock.advance(backoffMs(tries, () => 1));
  }
  const [failed] = outbox.of(ROOM);
  assert.equal(failed.state, 'failed');
  assert.match(failed.why, /No\. Tried 8 times\./);
  outbox.retry(failed.client_id);
  assert.equal(line.socket.last('send').client_id, 'id-1');
  await line.answer('send', ACK);
  assert.deepEqual(outbox.of(ROOM), []);
});

test('a refusal fails at once, and the next message goes its way', async () => {
  const { line, outbox } = await ready();
  outbox.send(ROOM, 'too long');
  outbox.send(ROOM, 'fine');
  await line.refuse('send', 205);
  assert.deepEqual(outbox.of(ROOM).map(({ text, state, why }) => [text, state, why]), [
    ['too long', 'failed', 'No. (205)'],
    ['fine', 'pending', undefined],
  ]);
  assert.equal(line.socket.last('send').text, 'fine');
  outbox.discard('id-1');
  assert.deepEqual(outbox.of(ROOM).map(({ text }) => text), ['fine']);
});

test('a failed message is still there after a reload, and still failed', async () => {
  const { line, outbox, storage } = await ready();
  outbox.send(ROOM, 'ding');
  await line.refuse('send', 203);
  const { outbox: again } = outboxOn(line, storage);
  again.resume(1);
  assert.equal(again.of(ROOM)[0].state, 'failed');

  line.clock.ms += FAILED_KEPT_MS;
  const { outbox: weekLater } = outboxOn(line, storage);
  weekLater.resume(1);
  assert.deepEqual([weekLater.of(ROOM), storage.length], [[], 0]);
});

test('without a connection for too long it fails too', async () => {
  const { line, outbox } = await ready();
  line.socket.lose();
  line.token = async () => {
    throw new Error('down');
  };
  outbox.send(ROOM, 'ding');
  await line.clock.advance(AGE_MAX_MS);
  assert.equal(outbox.of(ROOM)[0].state, 'failed');
});

test('more than can wait is refused to the writer', async () => {
  const { outbox } = await ready();
  for (let count = 0; count < WAITING_MAX; count++) assert.equal(outbox.send(ROOM, 'ding'), true);
  assert.equal(outbox.send(ROOM, 'one more'), false);
});
