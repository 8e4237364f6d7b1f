// The conversation with the gateway: one WebSocket at a time, opened again whenever it is lost.
//
// It says hello, answers pings, matches answers to requests and notices silence. A lost connection is tried
// again with exponential back-off and jitter; a close code of 4500 or more ends the trying, because the same
// attempt would end the same way. What frames mean is for others (sync.js, outbox.js). The socket, the clock
// and randomness come in as arguments.

export const SUBPROTOCOL = 'carillon.v1.json';

const BACKOFF_FIRST_MS = 500;
const BACKOFF_MAX_MS = 30_000;
/** A connection that lasted so long was a good one: the next loss starts at the first back-off again. */
const STEADY_MS = 10_000;
const WELCOME_MAX_MS = 10_000;
const ANSWER_MAX_MS = 20_000;

const CLOSE_REPLACED = 4004;
const CLOSE_FINAL_FROM = 4500;

/** Why a request was not carried out. `comeBack` says whether the same one may succeed later. */
export class RequestError extends Error {
  constructor(code, message, retryAfterMs) {
    super(message);
    this.name = 'RequestError';
    this.code = code;
    this.retryAfterMs = retryAfterMs;
  }

  get comeBack() {
    return this.code < 200;
  }

  /** Whether the connection went before the answer came: it may or may not have been done. */
  get lost() {
    return this.code === 0;
  }
}

/** A sign-in that trying again does not mend: it ends the connecting until somebody acts. */
export class SignInError extends Error {}

/** How long to wait before attempt `attempt` (1, 2, …): doubling, and half of it left to chance. */
export function backoffMs(attempt, random) {
  const full = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** Math.min(attempt - 1, 16));
  return Math.round(full / 2 + (full / 2) * random());
}

export class Connection {
  #open;
  #token;
  #device;
  #clock;
  #random;
  #on;
  #socket = null;
  #attempts = 0;
  #timer = null;
  #requests = new Map();
  #nextRequest = 1;
  #heardMs = 0;
  #welcomedMs = null;
  #goAwayMs = null;
  #lastError = null;

  /** Where it stands: `connecting`, `online`, `waiting` (until `untilMs`) or `refused`. */
  state = { name: 'connecting' };

  /**
   * @param {object} parts
   * @param {() => WebSocket} parts.open opens a socket to the gateway
   * @param {() => Promise<string>} parts.token a token; throws SignInError where asking again is of no use
   * @param {(fresh: boolean) => string} parts.device this device's name; a new one where `fresh`
   * @param {{now(): number, after(ms: number, then: () => void): any, cancel(timer: any): void}} parts.clock
   * @param {() => number} parts.random 0 ≤ x < 1
   * @param {{state(state), welcome(frame), frame(frame)}} parts.on who is told
   */
  constructor({ open, token, device, clock, random, on }) {
    this.#open = open;
    this.#token = token;
    this.#device = device;
    this.#clock = clock;
    this.#random = random;
    this.#on = on;
  }

  get online() {
    return this.state.name === 'online';
  }

  start() {
    this.#connect();
  }

  /** Tries at once instead of waiting out the back-off, also after a refusal. */
  retryNow() {
    if (this.state.name === 'waiting' || this.state.name === 'refused') this.#connect();
  }

  /** Says something that has no answer. Returns whether it went out. */
  say(frame) {
    if (this.online) this.#write(frame);
    return this.online;
  }

  /** Asks something. Resolves with the answer; rejects with a RequestError. */
  ask(frame) {
    if (!this.online) return Promise.reject(new RequestError(0, 'Not connected.'));
    const request = this.#nextRequest++;
    return new Promise((resolve, reject) => {
      // A gateway that leaves a request unanswered is as good as gone; only a new connection tells.
      const timer = this.#clock.after(ANSWER_MAX_MS, () => this.#lose('The gateway did not answer.'));
      this.#requests.set(request, { resolve, reject, timer });
      this.#write({ ...frame, request });
    });
  }

  async #connect() {
    this.#drop();
    const attempt = {};
    this.#socket = attempt;
    this.#lastError = null;
    this.#enter({ name: 'connecting' });
    let token;
    try {
      token = await this.#token();
    } catch (error) {
      if (this.#socket !== attempt) return;
      if (error instanceof SignInError) this.#refuse(0, error.message);
      else this.#lose('The gateway cannot be reached.');
      return;
    }
    if (this.#socket === attempt) this.#openSocket(token);
  }

  #openSocket(token) {
    const socket = this.#open();
    this.#socket = socket;
    this.#timer = this.#clock.after(WELCOME_MAX_MS, () => this.#lose('The gateway did not answer.'));
    const whileCurrent = (handle) => (event) => {
      if (this.#socket === socket) handle(event);
    };
    socket.onopen = whileCurrent(() => {
      this.#write({ kind: 'hello', token, device: this.#device(false), agent: 'carillon-page' });
    });
    socket.onmessage = whileCurrent((event) => this.#hear(event.data));
    socket.onclose = whileCurrent((event) => this.#closed(event.code, event.reason));
  }

  #hear(text) {
    this.#heardMs = this.#clock.now();
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      this.#lose('The gateway said something that is not JSON.');
      return;
    }
    this.#take(frame);
  }

  #take(frame) {
    switch (frame.kind) {
      case 'welcome':
        this.#welcome(frame);
        break;
      case 'ping':
        this.#write({ kind: 'pong', stamp: frame.stamp });
        this.#on.frame(frame);
        break;
      case 'go_away':
        this.#goAwayMs = frame.reconnect_after_ms + Math.round(frame.jitter_ms * this.#random());
        this.#lose('The gateway is restarting.');
        break;
      case 'error':
        this.#error(frame);
        break;
      default:
        if (frame.request === undefined) this.#on.frame(frame);
        // An answer that nobody waits for any more settles nothing.
        else this.#settle(frame.request)?.resolve(frame);
    }
  }

  #welcome(frame) {
    this.#clock.cancel(this.#timer);
    this.#welcomedMs = this.#clock.now();
    this.#watchForSilence(2 * frame.ping_interval_ms);
    this.#enter({ name: 'online' });
    this.#on.welcome(frame);
  }

  #watchForSilence(silenceMaxMs) {
    const leftMs = this.#heardMs + silenceMaxMs - this.#clock.now();
    if (leftMs <= 0) this.#lose('The gateway has gone silent.');
    else this.#timer = this.#clock.after(leftMs, () => this.#watchForSilence(silenceMaxMs));
  }

  #error(frame) {
    if (frame.request === 0) this.#lastError = frame.message;
    const asked = this.#settle(frame.request);
    if (asked) asked.reject(new RequestError(frame.code, frame.message, frame.retry_after_ms));
    else this.#on.frame(frame);
  }

  #settle(request) {
    const asked = this.#requests.get(request);
    if (asked) {
      this.#requests.delete(request);
      this.#clock.cancel(asked.timer);
    }
    return asked;
  }

  #closed(code, reason) {
    const why = this.#lastError || reason || 'The connection was lost.';
    if (code >= CLOSE_FINAL_FROM && code < 5000) {
      this.#refuse(code, why);
      return;
    }
    // Another tab opened a session under this device's name (a duplicated tab does): take a new name, or the
    // two would throw each other out for ever.
    if (code === CLOSE_REPLACED) this.#device(true);
    this.#lose(why);
  }

  #refuse(code, why) {
    this.#drop();
    this.#enter({ name: 'refused', code, why });
  }

  /** Waits a while, then connects anew. */
  #lose(why) {
    const steady = this.#welcomedMs !== null && this.#clock.now() - this.#welcomedMs >= STEADY_MS;
    this.#attempts = steady ? 1 : this.#attempts + 1;
    const waitMs = this.#goAwayMs ?? backoffMs(this.#attempts, this.#random);
    this.#goAwayMs = null;
    this.#drop();
    this.#timer = this.#clock.after(waitMs, () => this.#connect());
    this.#enter({ name: 'waiting', untilMs: this.#clock.now() + waitMs, why });
  }

  /** Lets go of the socket and of everything that waited on it. */
  #drop() {
    const socket = this.#socket;
    this.#socket = null;
    this.#welcomedMs = null;
    this.#clock.cancel(this.#timer);
    socket?.close?.();
    const requests = [...this.#requests.keys()];
    for (const request of requests) {
      this.#settle(request).reject(new RequestError(0, 'The connection was lost before the answer came.'));
    }
  }

  #enter(state) {
    this.state = state;
    this.#on.state(state);
  }

  #write(frame) {
    this.#socket.send(JSON.stringify(frame));
  }
}
