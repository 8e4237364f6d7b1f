// A gap, a drop, a head in a ping, a new connection: each ends in the room being whole again.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Rooms } from '../rooms.js';
import { Sync } from '../sync.js';
import { created, entry, Line, message, ROOM, seqs, settle } from './fakes.mjs';

const MEMBERS = [
  { user: 1, role: 'owner', read_seq: 0 },
  { user: 2, role: 'member', read_seq: 0 },
];

/** A page with one room, opened, that holds the events up to `head`. */
async function opened(head = 3) {
  const page = { rooms: new Rooms(), failures: [] };
  page.rooms.me = 1;
  const line = new Line({ frame: (frame) => page.sync.take(frame) });
  const on = { changed() {}, failed: (error) => page.failures.push(error) };
  page.sync = new Sync({ connection: line.connection, rooms: page.rooms, clock: line.clock, random: () => 1, on });
  await line.online();
  page.sync.resume();
  await line.answer('rooms', { kind: 'room_list', cursor: 5, rooms: [entry({ head })] });
  page.sync.open(ROOM);
  await line.answer('members', { kind: 'member_list', room: ROOM, members: MEMBERS, more: false });
  const events = [created(), ...Array.from({ length: head - 1 }, (_, index) => message(index + 2))];
  await line.answer('sync', { kind: 'events', room: ROOM, head_seq: head, events: events.slice(-100) });
  const room = page.rooms.get(ROOM);
  assert.equal(room.log.last, head);
  return { line, room, ...page };
}

function events(from, to, head = to) {
  const list = Array.from({ length: to - from + 1 }, (_, index) => message(from + index));
  return { kind: 'events', room: ROOM, head_seq: head, events: list };
}

test('a gap is waited for, then asked for', async () => {
  const { line, room } = await opened();
  line.socket.say(message(5));
  await line.clock.advance(299);
  assert.equal(line.socket.all('sync').length, 1);
  await line.clock.advance(1);
  assert.equal(line.socket.last('sync').after_seq, 3);
  await line.answer('sync', events(4, 5));
  assert.deepEqual(seqs(room.log.events), [1, 2, 3, 4, 5]);
});

test('a gap that closes by itself asks nothing', async () => {
  const { line, room } = await opened();
  line.socket.say(message(5));
  line.socket.say(message(4));
  await line.clock.advance(1_000);
  assert.equal(line.socket.all('sync').length, 1);
  assert.equal(room.log.last, 5);
});

test('a gap that an answer leaves open is asked for again', async () => {
  const { line, room } = await opened();
  line.socket.say({ kind: 'lagged', room: ROOM, from_seq: 4 });
  line.socket.say(message(6));
  await line.clock.advance(300);
  await line.answer('sync', events(4, 4));
  assert.equal(room.log.last, 4);
  await line.clock.advance(300);
  await line.answer('sync', events(5, 6));
  assert.equal(room.log.last, 6);
});

test('answers are asked on until the head is reached', async () => {
  const { line, room } = await opened();
  line.socket.say({ kind: 'lagged', room: ROOM, from_seq: 4 });
  await line.answer('sync', events(4, 5, 8));
  assert.equal(line.socket.last('sync').after_seq, 5);
  await line.answer('sync', events(6, 8));
  assert.equal(room.log.last, 8);
});

test('lagged about what is held already asks nothing', async () => {
  const { line } = await opened();
  line.socket.say({ kind: 'lagged', room: ROOM, from_seq: 3 });
  await settle();
  assert.equal(line.socket.all('sync').length, 1);
});

test('a head in a ping reveals a lost last event', async () => {
  const { line, room } = await opened();
  line.socket.say({ kind: 'ping', stamp: 1, heads: [{ room: ROOM, seq: 4 }] });
  await line.clock.advance(300);
  await line.answer('sync', events(4, 4));
  assert.equal(room.log.last, 4);
});

test('a head in a ping of a room that is not open, or not known, asks for the list', async () => {
  const { line } = await opened();
  line.socket.say({ kind: 'ping', stamp: 1, heads: [{ room: 'another', seq: 4 }] });
  await line.clock.advance(50);
  assert.equal(line.socket.last('rooms').changed_since, 5);
});

test('a snapshot replaces what is held', async () => {
  const { line, room } = await opened();
  line.socket.say({ kind: 'lagged', room: ROOM, from_seq: 4 });
  await line.answer('sync', { kind: 'snapshot', room: ROOM, head_seq: 902, head_ordinal: 901, from_seq: 900, name: 'Renamed' });
  assert.equal(line.socket.last('sync').after_seq, 900);
  await line.answer('sync', events(901, 902));
  assert.deepEqual(seqs(room.log.events), [901, 902]);
  assert.equal(room.name, 'Renamed');
});

test('a new connection asks for the list and for what came meanwhile', async () => {
  const { line, room, sync } = await opened();
  line.socket.lose();
  await line.clock.advance(500);
  await line.welcome();
  sync.resume();
  await line.answer('rooms', { kind: 'room_list', cursor: 6, rooms: [entry({ head: 5 })] });
  assert.equal(line.socket.last('sync').after_seq, 3);
  await line.answer('sync', events(4, 5));
  assert.equal(room.log.last, 5);
});

test('a room that the whole list no longer names is gone', async () => {
  const { line, rooms, sync } = await opened();
  sync.resume();
  await line.answer('rooms', { kind: 'room_list', cursor: 6, rooms: [] });
  assert.equal(rooms.get(ROOM), undefined);
});

test('the list is asked for page by page', async () => {
  const { line, rooms, sync } = await opened();
  sync.resume();
  const next = { active_ms: 3000, room: ROOM };
  await line.answer('rooms', { kind: 'room_list', cursor: 6, rooms: [entry({ head: 3 })], next });
  assert.deepEqual(line.socket.last('rooms').page, next);
  await line.answer('rooms', { kind: 'room_list', cursor: 7, rooms: [entry({ room: 'b' })] });
  assert.deepEqual(rooms.sorted().map((room) => room.id), [ROOM, 'b']);
});

test('"come back" is come back to, after the time it gives', async () => {
  const { line, room, failures } = await opened();
  line.socket.say({ kind: 'lagged', room: ROOM, from_seq: 4 });
  await line.refuse('sync', 100, { retry_after_ms: 700 });
  await line.clock.advance(699);
  assert.equal(line.socket.all('sync').length, 2);
  await line.clock.advance(1);
  await line.answer('sync', events(4, 4));
  assert.equal(room.log.last, 4);
  assert.deepEqual(failures, []);
});

test('older events are loaded a page at a time, also when the gateway gives less', async () => {
  const { line, room, sync } = await opened(250);
  assert.equal(room.log.after, 150);
  sync.older(ROOM);
  assert.deepEqual([line.socket.last('sync').after_seq, line.socket.last('sync').limit], [50, 100]);
  await line.answer('sync', events(51, 90, 250));
  assert.equal(line.socket.last('sync').after_seq, 90);
  await line.answer('sync', events(91, 150, 250));
  assert.equal(room.log.after, 50);
  assert.deepEqual(seqs(room.log.events), Array.from({ length: 200 }, (_, index) => 51 + index));
});

test('being taken out of a room ends it', async () => {
  const { line, rooms } = await opened();
  line.socket.say({ ...message(4), event: 'member_removed', user: 1 });
  assert.equal(rooms.get(ROOM), undefined);
});
