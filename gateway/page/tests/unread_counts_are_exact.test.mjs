// Unread is a difference of ordinals: gaps, duplicates, one's own messages and other devices leave it exact.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Room, Rooms } from '../rooms.js';
import { entry, message, ROOM } from './fakes.mjs';

const ME = 1;

test('each message of another counts once, whatever arrives twice or not at all', () => {
  const room = new Room(entry({ head: 3, read: 3 }), ME);
  room.take(message(4));
  room.take(message(4));
  room.take(message(7));
  room.take(message(5));
  assert.equal(room.unread, 4);
});

test('what people do not read does not count', () => {
  const room = new Room(entry({ head: 3, read: 3 }), ME);
  room.take({ ...message(4), event: 'members_added', members: [9], ordinal: 2 });
  assert.equal(room.unread, 0);
  assert.equal(room.memberCount, 3);
});

test('what one sends oneself clears what came before', () => {
  const room = new Room(entry({ head: 5, read: 3, unread: 2 }), ME);
  room.take(message(6, { sender: ME }));
  assert.equal(room.unread, 0);
  room.take(message(7));
  assert.equal(room.unread, 1);
});

test('the ack of a marker leaves what came after it', () => {
  const room = new Room(entry({ head: 5, read: 0, unread: 4 }), ME);
  room.take(message(6));
  room.markRead(ME, 5, { ordinal: 4 });
  assert.equal(room.unread, 1);
  assert.equal(room.readSeq, 5);
});

test('a marker moved on another device says what is left', () => {
  const room = new Room(entry({ head: 5, read: 0, unread: 4 }), ME);
  room.markRead(ME, 4, { unread: 1 });
  assert.equal(room.unread, 1);
});

test('a marker never moves back, nor does a list that is older than it', () => {
  const room = new Room(entry({ head: 5, read: 0, unread: 4 }), ME);
  room.markRead(ME, 5, { ordinal: 4 });
  room.markRead(ME, 2, { ordinal: 1 });
  room.refresh(entry({ head: 5, read: 0, unread: 4 }));
  assert.deepEqual([room.unread, room.readSeq], [0, 5]);
});

test('a list overtaken by live events does not take them back', () => {
  const room = new Room(entry({ head: 5, read: 5 }), ME);
  room.take(message(6, { text: 'newest' }));
  room.refresh(entry({ head: 5, read: 5, preview: 'old' }));
  assert.deepEqual([room.unread, room.preview, room.headSeq], [1, 'newest', 6]);
});

test('others’ markers are remembered for the members, forwards only', () => {
  const room = new Room(entry({ head: 5 }), ME);
  room.setMembers([{ user: 1, role: 'owner', read_seq: 0 }, { user: 2, role: 'member', read_seq: 1 }], true);
  room.markRead(2, 4);
  room.markRead(2, 3);
  assert.equal(room.members.get(2).readSeq, 4);
  assert.equal(room.unread, 0);
});

test('the total is of all rooms, and rooms are in the order of activity', () => {
  const rooms = new Rooms();
  rooms.me = ME;
  rooms.list([entry({ head: 4, unread: 2 }), entry({ room: 'b', head: 3, unread: 1 })]);
  assert.equal(rooms.unreadTotal, 3);
  rooms.get('b').take(message(9, { room: 'b' }));
  assert.deepEqual(rooms.sorted().map((room) => room.id), ['b', ROOM]);
});

test('typing fades by itself, and ends with the message', () => {
  const room = new Room(entry({ head: 1 }), ME);
  room.setTyping(2, true, 1_000);
  room.setTyping(3, true, 1_000);
  assert.deepEqual(room.typing(5_999), [2, 3]);
  room.take(message(2, { sender: 2 }));
  assert.deepEqual(room.typing(5_999), [3]);
  assert.deepEqual(room.typing(6_000), []);
});
