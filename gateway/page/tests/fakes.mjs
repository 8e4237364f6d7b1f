// A clock that moves when told to, a socket whose other end is the test, and storage in memory.

import { setImmediate as turn } from 'node:timers/promises';

import { Connection } from '../connection.js';

export class FakeClock {
  ms = 1_000_000;
  #timers = new Map();
  #next = 1;

  now() {
    return this.ms;
  }

  after(ms, then) {
    this.#timers.set(this.#next, { at: this.ms + ms, then });
    return this.#next++;
  }

  cancel(timer) {
    this.#timers.delete(timer);
  }

  /** Moves on, running what falls due, in order, and whatever follows from it. */
  async advance(ms) {
    const end = this.ms + ms;
    for (;;) {
      await settle();
      const due = [...this.#timers].filter(([, { at }]) => at <= end).sort(([, a], [, b]) => a.at - b.at)[0];
      if (!due) break;
      this.#timers.delete(due[0]);
      this.ms = Math.max(this.ms, due[1].at);
      due[1].then();
    }
    this.ms = end;
  }
}

/** Lets promises that are settled run their course. */
export async function settle() {
  for (let round = 0; round < 10; round++) await turn();
}

/** The browser's socket; `said` is what the page sent, `say` what the gateway answers. */
export class FakeSocket {
  said = [];
  closed = false;

  send(text) {
    this.said.push(JSON.parse(text));
  }

  close() {
    this.closed = true;
  }

  say(frame) {
    this.onmessage({ data: JSON.stringify(frame) });
  }

  lose(code = 1006, reason = '') {
    this.onclose({ code, reason });
  }

  /** The last frame of that kind the page sent. */
  last(kind) {
    return this.said.findLast((frame) => frame.kind === kind);
  }

  all(kind) {
    return this.said.filter((frame) => frame.kind === kind);
  }
}

export class FakeStorage {
  #items = new Map();

  get length() {
    return this.#items.size;
  }

  key(index) {
    return [...this.#items.keys()][index];
  }

  getItem(key) {
    return this.#items.get(key) ?? null;
  }

  setItem(key, value) {
    this.#items.set(key, value);
  }

  removeItem(key) {
    this.#items.delete(key);
  }
}

export const WELCOME = {
  kind: 'welcome',
  user: 1,
  now_ms: 0,
  ping_interval_ms: 25_000,
  frame_bytes_max: 65_536,
  text_bytes_max: 16_384,
  expires_ms: 3_600_000,
};

/** A connection with a test at its other end. `random` is 1 minus almost nothing: every back-off at its longest. */
export class Line {
  clock = new FakeClock();
  sockets = [];
  states = [];
  frames = [];
  welcomes = 0;
  devices = ['first'];
  token = async () => 'token';
  random = () => 1;

  constructor(on = {}) {
    this.connection = new Connection({
      open: () => {
        const socket = new FakeSocket();
        this.sockets.push(socket);
        return socket;
      },
      token: () => this.token(),
      device: (fresh) => {
        if (fresh) this.devices.push(`device ${this.devices.length + 1}`);
        return this.devices.at(-1);
      },
      clock: this.clock,
      random: () => this.random(),
      on: {
        state: (state) => this.states.push(state.name),
        welcome: (frame) => {
          this.welcomes += 1;
          on.welcome?.(frame);
        },
        frame: (frame) => {
          this.frames.push(frame);
          on.frame?.(frame);
        },
      },
    });
  }

  /** The newest socket. */
  get socket() {
    return this.sockets.at(-1);
  }

  /** Opens the newest socket and welcomes whoever says hello. */
  async welcome() {
    await settle();
    this.socket.onopen();
    this.socket.say(WELCOME);
    await settle();
  }

  async online() {
    this.connection.start();
    await this.welcome();
  }

  /** Answers the last question of that kind. */
  async answer(kind, answer) {
    this.socket.say({ ...answer, request: this.socket.last(kind).request });
    await settle();
  }

  refuse(kind, code, more = {}) {
    return this.answer(kind, { kind: 'error', code, message: 'No.', ...more });
  }
}

export const ROOM = '018f6d2e-4c5a-7b3c-8d9e-afb0c1d2e3f4';

/** A message event of user `sender`; its ordinal is one less than its seq, as in a room of messages only. */
export function message(seq, { sender = 2, room = ROOM, text = `text ${seq}`, client_id = `id-${seq}` } = {}) {
  return { kind: 'event', room, seq, ordinal: seq - 1, at_ms: seq * 1000, sender, event: 'message', client_id, text };
}

export function created({ sender = 1, members = [2], room = ROOM } = {}) {
  return { kind: 'event', room, seq: 1, ordinal: 0, at_ms: 1000, sender, event: 'room_created', name: 'Bells', members };
}

export function entry({ room = ROOM, head = 1, read = 0, unread = 0, ...more } = {}) {
  return {
    room,
    name: 'Bells',
    active_ms: head * 1000,
    head_seq: head,
    head_ordinal: head - 1,
    read_seq: read,
    unread,
    member_count: 2,
    preview: '',
    ...more,
  };
}

export function seqs(events) {
  return events.map((event) => event.seq);
}
