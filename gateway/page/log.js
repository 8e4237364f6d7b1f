// A room's events as this page holds them: one run without a hole, in the order of their seqs.
//
// Live events may arrive twice, early, or before the replay that leads up to them. A duplicate is dropped, an
// early one waits for those before it. Nothing is ever shown out of order.

/** Early events that may wait; those beyond are dropped, and the sync that closes the gap brings them again. */
const EARLY_MAX = 1_000;

/** Events held at once; past it nothing older is loaded, and a live event pushes the oldest out. */
export const HELD_MAX = 5_000;

export class RoomLog {
  /** The seq before the first event held. */
  after;
  /** The events held, seqs `after + 1` to `last`. */
  events = [];
  /** Whether the gateway keeps nothing older than what is held. */
  oldest = false;

  #early = new Map();

  constructor(after) {
    this.after = after;
  }

  get last() {
    return this.after + this.events.length;
  }

  get hasGap() {
    return this.#early.size > 0;
  }

  get hasOlder() {
    return this.after > 0 && !this.oldest;
  }

  get isFull() {
    return this.events.length >= HELD_MAX;
  }

  /** The event of that seq, where it is held. */
  at(seq) {
    return this.events[seq - this.after - 1];
  }

  /** Takes one event. Returns whether it was new. */
  take(event) {
    if (event.seq <= this.last || this.#early.has(event.seq)) return false;
    if (event.seq === this.last + 1) {
      this.events.push(event);
      this.#takeEarly();
      this.trim(HELD_MAX);
    } else if (this.#early.size < EARLY_MAX) {
      this.#early.set(event.seq, event);
    }
    return true;
  }

  /** Puts older events before those held; they must lead up to them without a hole. */
  prepend(events) {
    const leadsUp = events.every((event, index) => event.seq === this.after - events.length + 1 + index);
    if (!leadsUp) return false;
    this.events.unshift(...events);
    this.after -= events.length;
    return true;
  }

  /** Forgets everything and starts behind that seq: what a snapshot asks for. */
  restart(after) {
    this.after = after;
    this.events = [];
    this.oldest = true;
    for (const seq of this.#early.keys()) if (seq <= after) this.#early.delete(seq);
    this.#takeEarly();
  }

  /** Lets go of all but the newest `keep` events. */
  trim(keep) {
    const dropped = this.events.length - keep;
    if (dropped <= 0) return;
    this.events.splice(0, dropped);
    this.after += dropped;
    this.oldest = false;
  }

  #takeEarly() {
    let next;
    while ((next = this.#early.get(this.last + 1))) {
      this.#early.delete(next.seq);
      this.events.push(next);
    }
  }
}
