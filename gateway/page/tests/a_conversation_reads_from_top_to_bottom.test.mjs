// Days, notes, messages, what is new, what is on its way: in one list, each thing known by a key that lasts.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { eventSentence, joinNames, parseUsers } from '../format.js';
import { conversationItems } from '../items.js';
import { Room } from '../rooms.js';
import { created, entry, message } from './fakes.mjs';

const ME = 1;
const MINUTE_MS = 60_000;

function roomOf(events, readBy2 = 0) {
  const room = new Room(entry({ head: 0 }), ME);
  room.load();
  for (const event of events) room.take(event);
  room.setMembers([{ user: ME, role: 'owner', read_seq: 0 }, { user: 2, role: 'member', read_seq: readBy2 }], true);
  return room;
}

function itemsOf(room, { unsent = [], newAfter = Infinity } = {}) {
  return conversationItems({ room, unsent, me: ME, newAfter, nowMs: 1_000 });
}

const words = (items) => items.map(({ type, text }) => `${type}: ${text}`);

test('a day, a note, then what was said', () => {
  const room = roomOf([created(), message(2, { text: 'ding' })]);
  assert.deepEqual(words(itemsOf(room)), ['day: Today', 'note: You started this room with User 2', 'message: ding']);
});

test('each new day is named once', () => {
  const day = 24 * 60 * MINUTE_MS;
  const room = roomOf([created(), { ...message(2), at_ms: day + 1 }, { ...message(3), at_ms: day + 2 }]);
  assert.equal(itemsOf(room).filter(({ type }) => type === 'day').length, 2);
});

test('messages close together stand under one name', () => {
  const at = (seq, ms, sender) => ({ ...message(seq, { sender }), at_ms: ms });
  const room = roomOf([created(), at(2, 1000, 2), at(3, 2000, 2), at(4, 3000, 1), at(5, 3000 + 6 * MINUTE_MS, 1)]);
  const continued = itemsOf(room).filter(({ type }) => type === 'message').map((item) => item.continued);
  assert.deepEqual(continued, [false, true, false, false]);
});

test('the line stands above the first new message of somebody else', () => {
  const room = roomOf([created(), message(2), message(3, { sender: ME }), message(4)]);
  const types = itemsOf(room, { newAfter: 1 }).map(({ type }) => type);
  assert.deepEqual(types, ['day', 'note', 'message', 'message', 'new', 'message']);
});

test('where reading stopped is not held, there is no line', () => {
  const room = new Room(entry({ head: 200 }), ME);
  room.load();
  room.take(message(101));
  assert.equal(itemsOf(room, { newAfter: 5 }).some(({ type }) => type === 'new'), false);
});

test('one’s own messages are seen as far as somebody has read, and the mark stands at the last of them', () => {
  const own = (seq) => message(seq, { sender: ME });
  const room = roomOf([created(), own(2), own(3), own(4)], 3);
  const states = itemsOf(room).filter(({ mine }) => mine).map(({ state, seenBy }) => [state, seenBy]);
  assert.deepEqual(states, [['seen', []], ['seen', [2]], ['sent', []]]);
});

test('a message keeps its key when it turns from unsent to sent', () => {
  const unsent = [{ client_id: 'mine', text: 'ding', at_ms: 2000, state: 'pending' }];
  const before = itemsOf(roomOf([created()]), { unsent }).at(-1);
  const after = itemsOf(roomOf([created(), message(2, { sender: ME, client_id: 'mine', text: 'ding' })])).at(-1);
  assert.equal(before.key, after.key);
  assert.deepEqual([before.state, after.state], ['pending', 'sent']);
});

test('an event of a later version shows nothing and keeps its place', () => {
  const later = { ...message(2), event: 'unknown', number: 99 };
  const room = roomOf([created(), later, message(3, { text: 'dong' })]);
  assert.deepEqual(words(itemsOf(room)).slice(2), ['message: dong']);
});

test('membership reads as a sentence', () => {
  const event = (event, more) => eventSentence({ sender: 2, event, ...more }, ME);
  assert.equal(event('members_added', { members: [1, 3] }), 'User 2 added you and User 3');
  assert.equal(event('member_removed', { user: 3 }), 'User 2 removed User 3');
  assert.equal(event('member_left'), 'User 2 left');
  assert.equal(joinNames(['a', 'b', 'c']), 'a, b and c');
});

test('user numbers are read from what people type, or it says which is none', () => {
  assert.deepEqual(parseUsers(' 2, 3;4  2 '), [2, 3, 4]);
  assert.deepEqual(parseUsers(''), []);
  for (const wrong of ['0', '-1', '1.5', 'bob', '9007199254740993', '1e3']) {
    assert.throws(() => parseUsers(`2 ${wrong}`), /is not a user number/, wrong);
  }
});
