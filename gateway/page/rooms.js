// What this page knows about the user's rooms: heads, unread counts, members, read markers, who is typing.
//
// Pure state: frames go in, questions are answered, nothing is sent. Unread counts are differences of ordinals,
// never counted up, so that they are exact whatever was missed, doubled or late.

import { RoomLog } from './log.js';

/** How long somebody counts as typing after they last said so. */
export const TYPING_SHOWN_MS = 5_000;
/** Events of a room loaded when it is opened, and kept when another is. */
export const PAGE_EVENTS = 100;

const PREVIEW_CHARS = 120;

export class Room {
  /** The events held, once the room was opened. */
  log = null;
  /** Members by user id, once asked for. */
  members = null;
  /** The last message that no longer counts as unread, by its ordinal. */
  clearedOrdinal = 0;

  #me;
  #typing = new Map();

  constructor(entry, me) {
    this.#me = me;
    this.id = entry.room;
    this.headSeq = -1;
    this.readSeq = 0;
    this.refresh(entry);
  }

  /** Takes the room's entry of a list, as far as live events and markers have not overtaken it. */
  refresh(entry) {
    this.name = entry.name;
    if (entry.head_seq < this.headSeq || entry.read_seq < this.readSeq) return;
    this.readSeq = entry.read_seq;
    this.activeMs = entry.active_ms;
    this.headSeq = entry.head_seq;
    this.headOrdinal = entry.head_ordinal;
    this.memberCount = entry.member_count;
    this.previewSender = entry.preview_sender;
    this.preview = entry.preview;
    this.clearedOrdinal = entry.head_ordinal - entry.unread;
  }

  get unread() {
    return Math.max(0, this.headOrdinal - this.clearedOrdinal);
  }

  /** Takes an event, live or replayed. Returns whether it moved the room's head. */
  take(event) {
    this.log?.take(event);
    if (event.seq <= this.headSeq) return false;
    this.headSeq = event.seq;
    this.headOrdinal = event.ordinal;
    this.activeMs = event.at_ms;
    this.memberCount += membershipChange(event);
    if (event.event === 'message') this.#takeMessage(event);
    return true;
  }

  /** Starts holding events: the newest page, everything older on demand. */
  load() {
    this.log ??= new RoomLog(Math.max(0, this.headSeq - PAGE_EVENTS));
  }

  /** Moves a read marker, which never goes back. For one's own, `ordinal` or `unread` says what is left. */
  markRead(user, seq, { ordinal, unread } = {}) {
    if (user === this.#me) {
      this.readSeq = Math.max(this.readSeq, seq);
      const cleared = ordinal ?? this.log?.at(seq)?.ordinal ?? this.headOrdinal - (unread ?? this.unread);
      this.clearedOrdinal = Math.max(this.clearedOrdinal, cleared);
    }
    const member = this.members?.get(user);
    if (member) member.readSeq = Math.max(member.readSeq, seq);
  }

  /** Takes the members; `complete` unless there are more than this page asks for. */
  setMembers(list, complete) {
    this.members = new Map(
      list.map(({ user, role, read_seq }) => {
        const known = this.members?.get(user)?.readSeq ?? 0;
        return [user, { role, readSeq: Math.max(known, read_seq) }];
      }),
    );
    if (complete) this.memberCount = list.length;
  }

  /** The other members, where they are known. */
  get others() {
    return [...(this.members?.keys() ?? [])].filter((user) => user !== this.#me);
  }

  setTyping(user, active, nowMs) {
    if (user === this.#me) return;
    if (active) this.#typing.set(user, nowMs + TYPING_SHOWN_MS);
    else this.#typing.delete(user);
  }

  /** Who is typing now. */
  typing(nowMs) {
    for (const [user, untilMs] of this.#typing) if (untilMs <= nowMs) this.#typing.delete(user);
    return [...this.#typing.keys()];
  }

  #takeMessage(event) {
    this.previewSender = event.sender;
    this.preview = event.text.slice(0, PREVIEW_CHARS);
    this.#typing.delete(event.sender);
    if (event.sender === this.#me) this.clearedOrdinal = event.ordinal;
  }
}

export class Rooms {
  me = null;

  #rooms = new Map();

  get(id) {
    return this.#rooms.get(id);
  }

  /** All rooms, the most recently active first. */
  sorted() {
    return [...this.#rooms.values()].sort((a, b) => b.activeMs - a.activeMs || (a.id < b.id ? -1 : 1));
  }

  get unreadTotal() {
    return this.sorted().reduce((total, room) => total + room.unread, 0);
  }

  /** Takes entries of a list. */
  list(entries) {
    for (const entry of entries) {
      const known = this.#rooms.get(entry.room);
      if (known) known.refresh(entry);
      else this.#rooms.set(entry.room, new Room(entry, this.me));
    }
  }

  /** Lets go of the rooms that a complete list did not name. */
  keepOnly(ids) {
    for (const id of this.#rooms.keys()) if (!ids.has(id)) this.#rooms.delete(id);
  }

  drop(id) {
    this.#rooms.delete(id);
  }
}

/** Whether the event takes `user` out of the room. */
export function endsMembership(event, user) {
  return (
    (event.event === 'member_left' && event.sender === user) ||
    (event.event === 'member_removed' && event.user === user)
  );
}

/** By how much the event changes the number of members. */
export function membershipChange(event) {
  switch (event.event) {
    case 'members_added':
      return event.members.length;
    case 'member_left':
    case 'member_removed':
      return -1;
    default:
      return 0;
  }
}
