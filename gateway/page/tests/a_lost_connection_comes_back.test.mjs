// The connection is opened again until it stands: later and later, sooner after a good one, and not at all after a
// refusal that would only be repeated.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { backoffMs, SignInError } from '../connection.js';
import { Line, settle, WELCOME } from './fakes.mjs';

test('hello comes first, with token and device', async () => {
  const line = new Line();
  await line.online();
  assert.deepEqual(line.socket.said, [{ kind: 'hello', token: 'token', device: 'first', agent: 'carillon-page' }]);
  assert.deepEqual(line.states, ['connecting', 'online']);
});

test('back-off doubles up to half a minute, and half of it is chance', () => {
  const longest = [1, 2, 3, 7, 50].map((attempt) => backoffMs(attempt, () => 1));
  const shortest = [1, 2, 3, 7, 50].map((attempt) => backoffMs(attempt, () => 0));
  assert.deepEqual(longest, [500, 1_000, 2_000, 30_000, 30_000]);
  assert.deepEqual(shortest, [250, 500, 1_000, 15_000, 15_000]);
});

test('each loss waits longer; after a connection that lasted, it starts over', async () => {
  const line = new Line();
  line.connection.start();
  for (const waitMs of [500, 1_000, 2_000]) {
    await settle();
    line.socket.lose();
    assert.equal(line.connection.state.untilMs - line.clock.now(), waitMs);
    await line.clock.advance(waitMs);
  }
  await line.welcome();
  await line.clock.advance(10_000);
  line.socket.lose();
  assert.equal(line.connection.state.untilMs - line.clock.now(), 500);
});

test('a gateway that cannot give a token is tried again', async () => {
  const line = new Line();
  line.token = async () => {
    throw new TypeError('fetch failed');
  };
  line.connection.start();
  await settle();
  assert.equal(line.connection.state.name, 'waiting');
  assert.equal(line.sockets.length, 0);
});

test('a sign-in that cannot work, and close codes from 4500 on, end the trying and say why', async () => {
  const line = new Line();
  line.token = async () => {
    throw new SignInError('Tokens only.');
  };
  line.connection.start();
  await settle();
  assert.deepEqual(line.connection.state, { name: 'refused', code: 0, why: 'Tokens only.' });

  line.token = async () => 'token';
  line.connection.retryNow();
  await settle();
  line.socket.onopen();
  line.socket.say({ kind: 'error', request: 0, code: 208, message: 'Signed by a stranger.' });
  line.socket.lose(4502);
  assert.deepEqual(line.connection.state, { name: 'refused', code: 4502, why: 'Signed by a stranger.' });
  await line.clock.advance(3_600_000);
  assert.equal(line.sockets.length, 1);
});

test('close codes below 4500 are tried again', async () => {
  const line = new Line();
  await line.online();
  line.socket.lose(4003);
  await line.clock.advance(500);
  assert.equal(line.sockets.length, 2);
});

test('a replaced session comes back as another device, so that two tabs do not throw each other out', async () => {
  const line = new Line();
  await line.online();
  line.socket.lose(4004);
  await line.clock.advance(500);
  await line.welcome();
  assert.equal(line.socket.last('hello').device, 'device 2');
});

test('go_away is waited out as long as it says, plus chance', async () => {
  const line = new Line();
  await line.online();
  line.random = () => 0.5;
  line.socket.say({ kind: 'go_away', reconnect_after_ms: 4_000, jitter_ms: 1_000 });
  assert.equal(line.socket.closed, true);
  await line.clock.advance(4_499);
  assert.equal(line.sockets.length, 1);
  await line.clock.advance(1);
  assert.equal(line.sockets.length, 2);
});

test('a ping is answered with its stamp', async () => {
  const line = new Line();
  await line.online();
  line.socket.say({ kind: 'ping', stamp: 77 });
  assert.deepEqual(line.socket.last('pong'), { kind: 'pong', stamp: 77 });
});

test('silence for twice the ping interval is a loss; anything heard is not', async () => {
  const line = new Line();
  await line.online();
  await line.clock.advance(49_000);
  line.socket.say({ kind: 'ping', stamp: 1 });
  await line.clock.advance(49_000);
  assert.equal(line.connection.state.name, 'online');
  await line.clock.advance(1_000);
  assert.equal(line.connection.state.name, 'waiting');
});

test('no welcome in time is a loss', async () => {
  const line = new Line();
  line.connection.start();
  await settle();
  line.socket.onopen();
  await line.clock.advance(10_000);
  assert.equal(line.connection.state.name, 'waiting');
});

test('answers find their questions, in any order', async () => {
  const line = new Line();
  await line.online();
  const first = line.connection.ask({ kind: 'leave', room: 'a' });
  const second = line.connection.ask({ kind: 'leave', room: 'b' });
  const [a, b] = line.socket.all('leave').map((frame) => frame.request);
  line.socket.say({ kind: 'error', request: b, code: 103, message: 'Slower.', retry_after_ms: 50 });
  line.socket.say({ kind: 'ack', request: a, seq: 9 });
  assert.equal((await first).seq, 9);
  await assert.rejects(second, { code: 103, message: 'Slower.', retryAfterMs: 50, comeBack: true, lost: false });
});

test('a lost connection, and an answer that never comes, leave every question answered', async () => {
  const line = new Line();
  await line.online();
  const lost = assert.rejects(line.connection.ask({ kind: 'leave' }), { lost: true, comeBack: true });
  line.socket.lose();
  await lost;
  await assert.rejects(line.connection.ask({ kind: 'leave' }), { lost: true });

  await line.clock.advance(500);
  await line.welcome();
  const silent = assert.rejects(line.connection.ask({ kind: 'leave' }), { lost: true });
  await line.clock.advance(20_000);
  await silent;
  assert.equal(line.connection.state.name, 'waiting');
});

test('a socket that was let go can no longer disturb', async () => {
  const line = new Line();
  await line.online();
  const old = line.socket;
  old.lose();
  await line.clock.advance(500);
  await line.welcome();
  old.say(WELCOME);
  old.lose(4502);
  assert.equal(line.connection.state.name, 'online');
  assert.equal(line.welcomes, 2);
});
