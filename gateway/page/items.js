// A conversation as the list of things to show: days, notes, messages, the line above what is new.
// Pure: the same state always gives the same list.

import { continues, dayLabel, eventSentence, sameDay } from './format.js';

/**
 * @param {object} conversation
 * @param {import('./rooms.js').Room} conversation.room
 * @param {object[]} conversation.unsent messages on their way (outbox.js)
 * @param {number} conversation.me
 * @param {number} conversation.newAfter the ordinal after which everything was new when the room was opened
 * @param {number} conversation.nowMs
 * @returns {{key: string, type: 'day'|'note'|'new'|'message'}[]}
 */
export function conversationItems({ room, unsent, me, newAfter, nowMs }) {
  const items = [];
  const seen = seenBy(room, me);
  let lastMs = null;
  // Where the user stopped reading is out of reach, a line would stand in the wrong place.
  let marked = room.log.hasOlder && room.log.events[0]?.ordinal > newAfter;

  const add = (item) => {
    if (lastMs === null || !sameDay(lastMs, item.at_ms)) {
      items.push({ key: `day-${item.key}`, type: 'day', text: dayLabel(item.at_ms, nowMs) });
    }
    lastMs = item.at_ms;
    if (item.type === 'message') item.continued = continues(items.at(-1), item);
    items.push(item);
  };

  for (const event of room.log.events) {
    const isMessage = event.event === 'message';
    if (isMessage && !marked && event.ordinal > newAfter && event.sender !== me) {
      items.push({ key: 'new', type: 'new', text: 'New' });
      marked = true;
    }
    if (isMessage) add(messageItem(event, me, seen));
    else add({ key: `${event.seq}`, type: 'note', at_ms: event.at_ms, text: eventSentence(event, me) });
  }
  for (const send of unsent) {
    add({ ...unsentItem(send), sender: me, mine: true, seenBy: [] });
  }
  return items.filter((item) => item.text !== '' || item.type === 'message');
}

function messageItem(event, me, seen) {
  const mine = event.sender === me;
  return {
    // A message keeps its element when it turns from unsent to sent.
    key: mine ? event.client_id : `${event.seq}`,
    type: 'message',
    seq: event.seq,
    at_ms: event.at_ms,
    sender: event.sender,
    mine,
    text: event.text,
    state: mine && seen.furthest >= event.seq ? 'seen' : 'sent',
    seenBy: seen.at.get(event.seq) ?? [],
  };
}

function unsentItem({ client_id, at_ms, text, state, why }) {
  return { key: client_id, type: 'message', clientId: client_id, at_ms, text, state, why };
}

/** For each of the others, the last of one's own messages that they have read. */
function seenBy(room, me) {
  const at = new Map();
  let furthest = 0;
  const own = room.log.events.filter((event) => event.event === 'message' && event.sender === me);
  for (const user of room.others) {
    const { readSeq } = room.members.get(user);
    furthest = Math.max(furthest, readSeq);
    const last = own.findLast((event) => event.seq <= readSeq);
    if (last) at.set(last.seq, [...(at.get(last.seq) ?? []), user]);
  }
  return { at, furthest };
}
