// Where the page begins: who is signed in, the parts and how they are joined, and what each action does.
//
// Reading order: connection.js (the socket), sync.js and outbox.js (what comes and goes), rooms.js and log.js
// (what is known), items.js (what is to be seen), view.js, conversation.js and dialogs.js (seeing it).

import { Connection, SignInError, SUBPROTOCOL } from './connection.js';
import { Conversation } from './conversation.js';
import { bindDialogs, showMembers } from './dialogs.js';
import { byId } from './dom.js';
import { ReadMarks, TypingTeller } from './marks.js';
import { Outbox } from './outbox.js';
import { PAGE_EVENTS, Rooms } from './rooms.js';
import { Sync } from './sync.js';
import { showChat, showConnection, showMe, showNothingOpen, showNotice, showRooms, showSignIn } from './view.js';

const TOKEN_MAX_MS = 10_000;
/** A token is renewed so long before it runs out. */
const REFRESH_BEFORE_MS = 60_000;
/** Longer waits than this, timers do not hold. */
const TIMER_MAX_MS = 2 ** 31 - 1;
/** Changes that come close together are shown together. */
const RENDER_AFTER_MS = 16;

const SESSION_KEY = 'carillon.session';
const DEVICE_KEY = 'carillon.device';
const REFUSAL_KEY = 'carillon.refusal';

const clock = {
  now: () => Date.now(),
  after: (ms, then) => setTimeout(then, ms),
  cancel: (timer) => clearTimeout(timer),
};

/** A new UUID, also where the page came over plain HTTP from another machine and `randomUUID` is missing. */
function newId() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

// Who is signed in belongs to the tab: two tabs are two people.

function savedSession() {
  const user = Number(new URLSearchParams(location.search).get('user'));
  if (Number.isSafeInteger(user) && user >= 1) return { user };
  try {
    return JSON.parse(sessionStorage.getItem(SESSION_KEY));
  } catch {
    return null;
  }
}

function deviceName(fresh) {
  let device = sessionStorage.getItem(DEVICE_KEY);
  if (!device || fresh) {
    device = newId();
    sessionStorage.setItem(DEVICE_KEY, device);
  }
  return device;
}

/** The token to say hello with: the pasted one, or a development token for the user. */
async function tokenFor(session) {
  if (session.token) return session.token;
  const answer = await fetch(`/v1/dev/token?user=${session.user}`, { signal: AbortSignal.timeout(TOKEN_MAX_MS) });
  if (answer.status === 404) {
    throw new SignInError('This gateway has keys of its own and takes real tokens only. Sign in with one.');
  }
  if (!answer.ok) throw new Error(`The gateway answered ${answer.status}.`);
  return (await answer.json()).token;
}

function openSocket() {
  const scheme = location.protocol === 'https:' ? 'wss:' : 'ws:';
  return new WebSocket(`${scheme}//${location.host}/v1/ws`, SUBPROTOCOL);
}

class App {
  #session;
  #rooms = new Rooms();
  #renderTimer = null;
  #refreshTimer = null;
  #loading = new Set();
  #wanted = null;

  constructor(session) {
    this.#session = session;
    const changed = () => this.#renderSoon();
    const failed = (error) => showNotice(`${error.message} (${error.code})`);
    const parts = { clock, random: Math.random, rooms: this.#rooms };

    this.connection = new Connection({
      ...parts,
      open: openSocket,
      token: () => tokenFor(session),
      device: deviceName,
      on: {
        state: (state) => this.#connectionIs(state),
        welcome: (frame) => this.#welcome(frame),
        frame: (frame) => this.#frame(frame),
      },
    });
    parts.connection = this.connection;
    this.sync = new Sync({ ...parts, on: { changed, failed } });
    this.outbox = new Outbox({
      ...parts,
      storage: localStorage,
      newId,
      on: { changed, sent: (event) => this.sync.take(event), failed: (send) => this.#sendFailed(send) },
    });
    this.marks = new ReadMarks({ ...parts, on: { marked: (room, ack) => this.#marked(room, ack), failed } });
    this.typing = new TypingTeller(parts);
    this.conversation = new Conversation({
      send: (text) => this.#send(text),
      typing: (draft) => this.#wanted && this.typing.changed(this.#wanted, draft),
      older: () => this.#older(),
      retry: (clientId) => this.outbox.retry(clientId),
      discard: (clientId) => this.outbox.discard(clientId),
      scrolled: () => this.#markRead(),
    });
  }

  start() {
    this.#bind();
    showChat();
    this.#follow();
    this.connection.start();
    this.#render();
  }

  #bind() {
    bindDialogs({
      createRoom: (name, members) => this.#createRoom(name, members),
      addMembers: (members) => this.#ask({ kind: 'add_members', members }),
      leave: () => this.#leave(),
      details: () => this.#wanted && this.sync.membersOf(this.#wanted).then(() => this.#render()),
    });
    byId('sign-out').onclick = () => signOut();
    byId('banner-retry').onclick = () => this.#retry();
    byId('back').onclick = () => (location.hash = '');
    addEventListener('hashchange', () => this.#follow());
    addEventListener('online', () => this.connection.state.name === 'waiting' && this.connection.retryNow());
    addEventListener('focus', () => this.#markRead());
    document.addEventListener('visibilitychange', () => this.#markRead());
    // Typing fades, countdowns count, days change: all by looking at the clock again.
    setInterval(() => this.#render(), 1_000);
  }

  #connectionIs(state) {
    // Without a token there is nothing to show: ask for one.
    if (state.name === 'refused' && state.code === 0) signOut(state.why);
    else this.#renderSoon();
  }

  #welcome(frame) {
    this.#rooms.me = frame.user;
    showMe(frame.user);
    this.conversation.limits({ me: frame.user, textBytesMax: frame.text_bytes_max });
    this.marks.resume();
    this.sync.resume().then(() => this.#load());
    this.outbox.resume(frame.user);
    this.#refreshLater(frame.expires_ms - frame.now_ms);
  }

  #frame(frame) {
    // Before the welcome an error is the reason of the refusal that follows, and shown with it.
    if (frame.kind === 'error' && this.connection.online) showNotice(`${frame.message} (${frame.code})`);
    else if (frame.kind === 'event') this.outbox.arrived(frame);
    this.sync.take(frame);
  }

  /** A development token is renewed on the open connection; a pasted one ends when it ends. */
  #refreshLater(lifeMs) {
    clock.cancel(this.#refreshTimer);
    if (this.#session.token || lifeMs > TIMER_MAX_MS) return;
    this.#refreshTimer = clock.after(Math.max(lifeMs / 2, lifeMs - REFRESH_BEFORE_MS), async () => {
      try {
        await this.connection.ask({ kind: 'refresh', token: await tokenFor(this.#session) });
        this.#refreshLater(lifeMs);
      } catch {
        // The gateway ends the session when the token does, and says so: connecting again brings a new one.
      }
    });
  }

  /** The room in the address is the one that is open; the browser's "back" closes it. */
  #follow() {
    const wanted = location.hash.slice(1) || null;
    if (this.#wanted && this.#wanted !== wanted) {
      this.typing.stopped();
      this.#rooms.get(this.#wanted)?.log?.trim(PAGE_EVENTS);
    }
    this.#wanted = wanted;
    this.#load();
    this.#render();
  }

  async #load() {
    const id = this.#wanted;
    if (!this.#rooms.get(id) || this.#loading.has(id)) return;
    this.#loading.add(id);
    await this.sync.open(id);
    this.#loading.delete(id);
    this.#render();
  }

  async #older() {
    const id = this.#wanted;
    if (!id || this.#loading.has(id)) return;
    await this.sync.older(id);
  }

  #send(text) {
    this.typing.stopped();
    return this.outbox.send(this.#wanted, text);
  }

  /** Where the message itself is not in view, its failure is told all the same. */
  #sendFailed({ room, text, why }) {
    if (room !== this.#wanted) showNotice(`Not sent: “${text.slice(0, 40)}”. ${why}`);
  }

  async #createRoom(name, members) {
    const room = newId();
    await this.connection.ask({ kind: 'create_room', room, name, members });
    await this.sync.listNow();
    location.hash = room;
  }

  /** Asks something about the open room. */
  #ask(frame) {
    return this.connection.ask({ ...frame, room: this.#wanted });
  }

  async #leave() {
    const room = this.#wanted;
    await this.#ask({ kind: 'leave' });
    this.#rooms.drop(room);
    location.hash = '';
  }

  #retry() {
    const { name, why } = this.connection.state;
    if (name === 'refused') signOut(why);
    else this.connection.retryNow();
  }

  /** What is in view, in a window that has the user's attention, is read. */
  #markRead() {
    const room = this.#rooms.get(this.#wanted);
    const attentive = document.visibilityState === 'visible' && document.hasFocus();
    if (!room?.log || !attentive || !this.conversation.atEnd || !this.connection.online) return;
    if (room.log.last > room.readSeq) this.marks.seen(room.id, room.log.last);
  }

  #marked(id, { seq, ordinal }) {
    this.#rooms.get(id)?.markRead(this.#rooms.me, seq, { ordinal });
    this.#renderSoon();
  }

  // Not requestAnimationFrame: a tab in the background must keep its title's count.
  #renderSoon() {
    this.#renderTimer ??= setTimeout(() => this.#render(), RENDER_AFTER_MS);
  }

  #render() {
    clearTimeout(this.#renderTimer);
    this.#renderTimer = null;
    const nowMs = clock.now();
    const open = this.#rooms.get(this.#wanted);
    const room = open?.log ? open : null;
    showConnection(this.connection.state, nowMs);
    const { listed } = this.sync;
    showRooms({ rooms: this.#rooms, me: this.#rooms.me, open: this.#wanted, listed, nowMs });
    showNothingOpen({ state: this.connection.state, listed, wanted: this.#wanted });
    const unsent = room ? this.outbox.of(room.id) : [];
    this.conversation.show({ room, unsent, loading: this.#loading.has(this.#wanted), nowMs });
    showMembers(room, this.#rooms.me);
    this.#markRead();
  }
}

/** Forgets who is signed in and asks again; `why` where the gateway would not have them. */
function signOut(why) {
  sessionStorage.removeItem(SESSION_KEY);
  if (why) sessionStorage.setItem(REFUSAL_KEY, why);
  location.assign('/');
}

function begin(session) {
  if (session?.user || session?.token) {
    new App(session).start();
    return;
  }
  const refusal = sessionStorage.getItem(REFUSAL_KEY);
  sessionStorage.removeItem(REFUSAL_KEY);
  showSignIn({ signIn, error: refusal ?? '', byToken: refusal !== null });
}

function signIn(session) {
  sessionStorage.setItem(SESSION_KEY, JSON.stringify(session));
  begin(session);
}

begin(savedSession());
