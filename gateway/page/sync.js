// Keeps the rooms in step with the gateway: asks for the list, fills gaps, loads what is opened.
//
// Whatever was missed (a lost connection, a gap, `lagged`, a head in a ping) ends in the same place:
// `#catchUp`, which asks for the events after the last one held until there are no more.

import { backoffMs } from './connection.js';
import { endsMembership, membershipChange, PAGE_EVENTS } from './rooms.js';

/** An event that overtook another is normal; only a gap that stays so long is asked for. */
const GAP_PATIENCE_MS = 300;
/** Several reasons to ask for the list soon become one question. */
const LIST_PATIENCE_MS = 50;

/** Members whose names and read markers are shown; of larger rooms the rest only counts. */
const MEMBERS_MAX = 1_000;

const NOT_A_MEMBER = 202;

export class Sync {
  #connection;
  #rooms;
  #clock;
  #random;
  #on;
  #cursor = 0;
  #listTimer = null;
  #gapTimers = new Map();
  #catchingUp = new Map();
  #loadingOlder = new Set();

  /** Whether the list of rooms came at least once. */
  listed = false;

  /**
   * @param {object} parts
   * @param {{changed(), failed(error)}} parts.on who is told that something is to be shown
   */
  constructor({ connection, rooms, clock, random, on }) {
    this.#connection = connection;
    this.#rooms = rooms;
    this.#clock = clock;
    this.#random = random;
    this.#on = on;
  }

  /** After each welcome: the whole list, then the rooms that are held. */
  async resume() {
    await this.#quietly(async () => {
      await this.#list(0);
      await Promise.all(this.#rooms.sorted().map((room) => room.log && this.#refill(room)));
    });
  }

  /** Takes a frame that nobody asked for. */
  take(frame) {
    switch (frame.kind) {
      case 'event':
        this.#event(frame);
        break;
      case 'lagged':
        this.#lagged(frame);
        break;
      case 'ping':
        for (const head of frame.heads ?? []) this.#head(head);
        break;
      case 'read':
        this.#rooms.get(frame.room)?.markRead(frame.user, frame.seq, { unread: frame.unread });
        break;
      case 'typing':
        this.#rooms.get(frame.room)?.setTyping(frame.user, frame.active, this.#clock.now());
        break;
    }
    this.#on.changed();
  }

  /** Loads a room so that its messages can be shown. */
  async open(id) {
    const room = this.#rooms.get(id);
    if (!room) return;
    const fresh = !room.log;
    room.load();
    if (fresh) await this.#quietly(() => this.#refill(room));
  }

  /** Loads a page of what came before. */
  async older(id) {
    const room = this.#rooms.get(id);
    if (!room?.log?.hasOlder || room.log.isFull || this.#loadingOlder.has(id)) return;
    this.#loadingOlder.add(id);
    await this.#quietly(() => this.#older(room));
    this.#loadingOlder.delete(id);
    this.#on.changed();
  }

  /** Asks for the rooms that changed, soon. */
  listSoon() {
    this.#listTimer ??= this.#clock.after(LIST_PATIENCE_MS, () => {
      this.#listTimer = null;
      this.#quietly(() => this.#list(this.#cursor));
    });
  }

  /** Asks for the rooms that changed, now. */
  listNow() {
    return this.#list(this.#cursor);
  }

  async membersOf(id) {
    const room = this.#rooms.get(id);
    if (room) await this.#quietly(() => this.#members(room));
  }

  #event(event) {
    const room = this.#rooms.get(event.room);
    if (!room) {
      this.listSoon();
      return;
    }
    if (endsMembership(event, this.#rooms.me)) {
      this.#rooms.drop(event.room);
      return;
    }
    const moved = room.take(event);
    if (moved && membershipChange(event) !== 0 && room.members) this.#quietly(() => this.#members(room));
    if (room.log?.hasGap) this.#fillSoon(room);
  }

  #lagged({ room: id, from_seq }) {
    const room = this.#rooms.get(id);
    if (!room?.log) this.listSoon();
    // What this page holds without a hole may already reach beyond what was dropped.
    else if (room.log.last < from_seq || room.log.hasGap) this.#quietly(() => this.#catchUp(room));
  }

  #head({ room: id, seq }) {
    const room = this.#rooms.get(id);
    if (room?.log ? room.log.last >= seq : room && room.headSeq >= seq) return;
    if (room?.log) this.#fillSoon(room, seq);
    else this.listSoon();
  }

  #fillSoon(room, seq = 0) {
    if (this.#gapTimers.has(room.id)) return;
    const timer = this.#clock.after(GAP_PATIENCE_MS, () => {
      this.#gapTimers.delete(room.id);
      if (room.log.hasGap || room.log.last < seq) this.#quietly(() => this.#catchUp(room));
    });
    this.#gapTimers.set(room.id, timer);
  }

  async #list(changedSince) {
    const seen = new Set();
    let page;
    do {
      const question = { kind: 'rooms', changed_since: changedSince, limit: 0, ...(page && { page }) };
      const answer = await this.#connection.ask(question);
      if (!page) this.#cursor = answer.cursor;
      this.#rooms.list(answer.rooms);
      for (const entry of answer.rooms) seen.add(entry.room);
      page = answer.next;
    } while (page);
    if (changedSince === 0) this.#rooms.keepOnly(seen);
    this.listed = true;
    this.#on.changed();
    await this.#nameless();
  }

  /** A room without a name is called by its members, so they are needed for the list already. */
  async #nameless() {
    const nameless = this.#rooms.sorted().filter((room) => !room.name && !room.members);
    await Promise.all(nameless.map((room) => this.#quietly(() => this.#members(room))));
  }

  async #refill(room) {
    await Promise.all([this.#catchUp(room), this.#members(room)]);
  }

  /** One question at a time for each room; whoever asks meanwhile shares its answer. */
  #catchUp(room) {
    let running = this.#catchingUp.get(room.id);
    if (!running) {
      running = this.#replay(room).finally(() => this.#catchingUp.delete(room.id));
      this.#catchingUp.set(room.id, running);
    }
    return running;
  }

  async #replay(room) {
    for (;;) {
      const before = room.log.last;
      const answer = await this.#patiently({ kind: 'sync', room: room.id, after_seq: before, limit: 0 });
      if (answer.kind === 'snapshot') {
        room.name = answer.name;
        room.log.restart(answer.from_seq);
      } else {
        for (const event of answer.events) room.take(event);
      }
      this.#on.changed();
      if (room.log.last >= answer.head_seq || room.log.last === before) break;
    }
    if (room.log.hasGap) this.#fillSoon(room);
  }

  async #older(room) {
    const { log } = room;
    let after = Math.max(0, log.after - PAGE_EVENTS);
    let older = [];
    while (after < log.after) {
      const question = { kind: 'sync', room: room.id, after_seq: after, limit: log.after - after };
      const answer = await this.#patiently(question);
      if (answer.kind === 'snapshot') {
        log.oldest = true;
        older = [];
        if (answer.from_seq <= after) return;
        after = answer.from_seq;
        continue;
      }
      const part = answer.events.filter((event) => event.seq <= log.after);
      if (part.length === 0) return;
      older.push(...part);
      after = part.at(-1).seq;
    }
    log.prepend(older);
  }

  async #members(room) {
    const members = [];
    let more;
    do {
      const after_user = members.at(-1)?.user ?? 0;
      const answer = await this.#connection.ask({ kind: 'members', room: room.id, after_user, limit: 0 });
      members.push(...answer.members);
      more = answer.more && answer.members.length > 0;
    } while (more && members.length < MEMBERS_MAX);
    room.setMembers(members, !more);
    this.#on.changed();
  }

  /** Asks again, later and later, while the gateway says "come back". */
  async #patiently(question) {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#connection.ask(question);
      } catch (error) {
        if (!error.comeBack || error.lost) throw error;
        const waitMs = error.retryAfterMs ?? backoffMs(attempt, this.#random);
        await new Promise((resolve) => this.#clock.after(waitMs, resolve));
      }
    }
  }

  /** Runs it; a lost connection needs no word (`resume` follows), a lost membership ends the room. */
  async #quietly(run) {
    try {
      await run();
    } catch (error) {
      if (error.lost) return;
      if (error.code === NOT_A_MEMBER) this.listAfresh();
      else this.#on.failed(error);
    }
  }

  /** Asks for the whole list: the only question that tells which rooms are gone. */
  listAfresh() {
    return this.#quietly(() => this.#list(0));
  }
}
