// What this user's doing tells the others: how far they have read, and that they are typing.
// Both are said sparingly: one read marker in flight for each room, one word about typing in two seconds.

export const TYPING_EVERY_MS = 2_000;

export class ReadMarks {
  #connection;
  #on;
  #wanted = new Map();
  #inFlight = new Set();

  /** @param {{marked(room, ack), failed(error)}} parts.on */
  constructor({ connection, on }) {
    this.#connection = connection;
    this.#on = on;
  }

  /** The user has seen everything up to `seq`. Asked again, it costs nothing. */
  seen(room, seq) {
    if (seq <= (this.#wanted.get(room) ?? 0)) return;
    this.#wanted.set(room, seq);
    if (!this.#inFlight.has(room)) this.#run(room);
  }

  /** After a welcome: what was in doubt is said again by whoever calls `seen` next. */
  resume() {
    this.#wanted.clear();
  }

  async #run(room) {
    this.#inFlight.add(room);
    let said = 0;
    while ((this.#wanted.get(room) ?? 0) > said && this.#connection.online) {
      said = this.#wanted.get(room);
      try {
        this.#on.marked(room, await this.#connection.ask({ kind: 'mark_read', room, seq: said }));
      } catch (error) {
        if (error.comeBack) this.#wanted.delete(room);
        else this.#on.failed(error);
      }
    }
    this.#inFlight.delete(room);
  }
}

export class TypingTeller {
  #connection;
  #clock;
  #room = null;
  #saidMs = -Infinity;

  constructor({ connection, clock }) {
    this.#connection = connection;
    this.#clock = clock;
  }

  /** The user's draft in `room` has changed. */
  changed(room, draft) {
    if (this.#room !== null && (room !== this.#room || draft === '')) this.stopped();
    if (draft === '') return;
    if (this.#clock.now() - this.#saidMs < TYPING_EVERY_MS) return;
    this.#room = room;
    this.#saidMs = this.#clock.now();
    this.#connection.say({ kind: 'typing', room, active: true });
  }

  /** The draft was sent, emptied or left. */
  stopped() {
    if (this.#room === null) return;
    this.#connection.say({ kind: 'typing', room: this.#room, active: false });
    this.#room = null;
    this.#saidMs = -Infinity;
  }
}
