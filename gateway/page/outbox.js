// Messages on their way: shown at once, kept over a reload, sent again under the same id until they are
// acknowledged, or shown as failed with the reason. Never dropped in silence.
//
// A room's messages go one after the other, so that they arrive in the order they were written in.

import { backoffMs } from './connection.js';

/** Tries while the gateway says "come back"; after them the message has failed. */
export const TRIES_MAX = 8;
/** A message that could not be sent for so long has failed, whatever the reason. */
export const AGE_MAX_MS = 15 * 60_000;
/** Messages on their way at once; one more is refused to the writer's face. */
export const WAITING_MAX = 200;
/** Failed messages are kept for another try so long; by then their writer has known for a week. */
export const FAILED_KEPT_MS = 7 * 24 * 3_600_000;

export class Outbox {
  #connection;
  #storage;
  #clock;
  #random;
  #newId;
  #on;
  #user = null;
  #sends = new Map();
  #active = new Set();

  /**
   * @param {object} parts
   * @param {Storage} parts.storage localStorage, or something like it
   * @param {() => string} parts.newId a new UUID
   * @param {{changed(), sent(event), failed(send)}} parts.on who is told; `sent` gets the event that an ack describes
   */
  constructor({ connection, storage, clock, random, newId, on }) {
    this.#connection = connection;
    this.#storage = storage;
    this.#clock = clock;
    this.#random = random;
    this.#newId = newId;
    this.#on = on;
  }

  /** Takes up what this user left unsent. Called at each welcome; reads the storage only once. */
  resume(user) {
    if (this.#user !== user) {
      this.#user = user;
      this.#sends = new Map(this.#stored().map((send) => [send.client_id, send]));
      for (const send of this.#sends.values()) this.#takeUp(send);
    }
    for (const room of new Set(this.#pending().map((send) => send.room))) this.#run(room);
  }

  /** A room's messages on their way, in the order they were written in. */
  of(room) {
    return [...this.#sends.values()].filter((send) => send.room === room);
  }

  /** Starts sending; returns whether there was space. */
  send(room, text) {
    if (this.#pending().length >= WAITING_MAX) return false;
    const send = { room, client_id: this.#newId(), text, at_ms: this.#clock.now(), tries: 0, state: 'pending' };
    this.#sends.set(send.client_id, send);
    this.#store(send);
    this.#expireLater(send);
    this.#on.changed();
    this.#run(room);
    return true;
  }

  /** Tries a failed message once more, as if it were written now. */
  retry(client_id) {
    const send = this.#sends.get(client_id);
    if (send?.state !== 'failed') return;
    Object.assign(send, { state: 'pending', tries: 0, at_ms: this.#clock.now(), why: undefined });
    this.#store(send);
    this.#expireLater(send);
    this.#on.changed();
    this.#run(send.room);
  }

  /** Gives a failed message up. */
  discard(client_id) {
    if (this.#sends.get(client_id)?.state === 'failed') this.#forget(client_id);
    this.#on.changed();
  }

  /** An event of this user's has arrived: if it is one of these, it needs no more sending. */
  arrived(event) {
    if (event.event === 'message' && event.sender === this.#user) this.#forget(event.client_id);
  }

  async #run(room) {
    if (this.#active.has(room)) return;
    this.#active.add(room);
    let send;
    while (this.#connection.online && (send = this.of(room).find(({ state }) => state === 'pending'))) {
      await this.#try(send);
    }
    this.#active.delete(room);
  }

  async #try(send) {
    if (this.#clock.now() - send.at_ms >= AGE_MAX_MS) {
      this.#fail(send, 'It could not be sent for too long.');
      return;
    }
    const { room, client_id, text } = send;
    try {
      const ack = await this.#connection.ask({ kind: 'send', room, client_id, text });
      this.#acknowledged(send, ack);
    } catch (error) {
      await this.#refused(send, error);
    }
  }

  #acknowledged(send, { seq, ordinal, at_ms }) {
    const { room, client_id, text } = send;
    this.#on.sent({ kind: 'event', room, seq, ordinal, at_ms, sender: this.#user, event: 'message', client_id, text });
    this.#forget(client_id);
    this.#on.changed();
  }

  async #refused(send, error) {
    if (!this.#sends.has(send.client_id)) return;
    send.tries += 1;
    if (!error.comeBack) this.#fail(send, `${error.message} (${error.code})`);
    else if (send.tries >= TRIES_MAX) this.#fail(send, `${error.message} Tried ${send.tries} times.`);
    // A lost connection is waited for by the connection itself; `resume` comes when it is back.
    else if (!error.lost) await this.#pause(error.retryAfterMs ?? backoffMs(send.tries, this.#random));
  }

  #pending() {
    return [...this.#sends.values()].filter(({ state }) => state === 'pending');
  }

  #takeUp(send) {
    if (send.state === 'pending') this.#expireLater(send);
    else if (this.#clock.now() - send.at_ms >= FAILED_KEPT_MS) this.#forget(send.client_id);
  }

  #pause(ms) {
    return new Promise((resolve) => this.#clock.after(ms, resolve));
  }

  /** While there is no connection nothing is tried, yet the writer must learn of it. */
  #expireLater(send) {
    const { at_ms } = send;
    this.#clock.after(Math.max(0, at_ms + AGE_MAX_MS - this.#clock.now()), () => {
      if (send.state === 'pending' && send.at_ms === at_ms && this.#sends.has(send.client_id)) {
        this.#fail(send, 'It could not be sent for too long.');
      }
    });
  }

  #fail(send, why) {
    Object.assign(send, { state: 'failed', why });
    this.#store(send);
    this.#on.failed(send);
    this.#on.changed();
  }

  #forget(client_id) {
    if (this.#sends.delete(client_id)) this.#storage.removeItem(this.#key(client_id));
  }

  // One entry for each message: two tabs of the same user never overwrite each other's.
  #key(client_id) {
    return `carillon.unsent.${this.#user}.${client_id}`;
  }

  #store(send) {
    try {
      this.#storage.setItem(this.#key(send.client_id), JSON.stringify(send));
    } catch {
      // Full or forbidden: the message is still sent, only a reload would forget it.
    }
  }

  #stored() {
    const prefix = this.#key('');
    const keys = Array.from({ length: this.#storage.length }, (_, index) => this.#storage.key(index));
    const sends = keys.filter((key) => key.startsWith(prefix)).map((key) => readSend(this.#storage.getItem(key)));
    return sends.filter(Boolean).sort((a, b) => a.at_ms - b.at_ms);
  }
}

function readSend(text) {
  try {
    const send = JSON.parse(text);
    return typeof send.room === 'string' && typeof send.client_id === 'string' && typeof send.text === 'string' ? send : null;
  } catch {
    return null;
  }
}
