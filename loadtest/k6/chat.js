// What both scripts share: a user who chats. See chat-json.js and chat-binary.js.
//
//   BASE_URL     the gateway's HTTP address (http://127.0.0.1:8080)
//   VUS          users at once (10)
//   DURATION     how long they chat (30s)
//   EVERY_MS     each sends so often (1000)
//   FIRST_USER   the number of the first user (1)
//   AUTH_TOKEN   a token for all of them; without it each asks for one at /v1/dev/token, which a gateway with a
//                development key gives on its own machine

import { check } from "k6";
import http from "k6/http";
import { Counter, Rate, Trend } from "k6/metrics";
import { WebSocket } from "k6/experimental/websockets";
import { uuid } from "./codec.js";

const BASE_URL = __ENV.BASE_URL || "http://127.0.0.1:8080";
const VUS = Number(__ENV.VUS || 10);
const EVERY_MS = Number(__ENV.EVERY_MS || 1000);
const FIRST_USER = Number(__ENV.FIRST_USER || 1);
const DURATION = __ENV.DURATION || "30s";
const SYNC_LIMIT = 200;

const errors = new Rate("errors");
const messageDuration = new Trend("message_duration", true);
const roomDuration = new Trend("room_duration", true);
const delivered = new Counter("messages_delivered");
const gaps = new Counter("messages_out_of_order");

export const options = {
  scenarios: {
    chat: { executor: "per-vu-iterations", vus: VUS, iterations: 1, maxDuration: `${seconds(DURATION) + 60}s` },
  },
  thresholds: {
    errors: ["rate==0"],
    checks: ["rate==1"],
    messages_out_of_order: ["count==0"],
    message_duration: ["p(95)<200"],
    room_duration: ["p(95)<500"],
  },
};

/** `form` says how frames travel: its subprotocol, and `say` and `heard` to write and read a message. */
export function chat(form) {
  const user = FIRST_USER + __VU - 1;
  const session = new Session(form, user, token(user));
  session.begin();
}

function token(user) {
  if (__ENV.AUTH_TOKEN) return __ENV.AUTH_TOKEN;
  const answer = http.get(`${BASE_URL}/v1/dev/token?user=${user}`);
  if (answer.status !== 200) {
    errors.add(true);
    throw new Error(`no token for user ${user} from ${BASE_URL}: ${answer.status} ${answer.body ?? answer.error}`);
  }
  return answer.json("token");
}

class Session {
  constructor(form, user, token) {
    const url = `${BASE_URL.replace(/^http/, "ws")}/v1/ws`;
    Object.assign(this, { form, user, token, room: uuid(), request: 0, sent: new Map(), last: new Map(), waiting: new Map() });
    this.socket = new WebSocket(url, form.subprotocol);
    this.socket.binaryType = "arraybuffer";
  }

  begin() {
    this.socket.onopen = () => this.say({ kind: "hello", token: this.token, device: "k6", agent: "carillon-k6" });
    this.socket.onmessage = (message) => this.form.heard(message.data).forEach((frame) => this.heard(frame));
    this.socket.onerror = (event) => this.fail(event.error);
    this.socket.onclose = () => {
      this.stop();
      check(this, { "everything sent was acknowledged, delivered and is in the history": (it) => it.isComplete });
    };
  }

  heard(frame) {
    switch (frame.kind) {
      case "welcome": return this.open();
      case "ping": return this.say({ kind: "pong", stamp: frame.stamp });
      case "event": return this.event(frame);
      case "error":
        this.fail(`${frame.code}: ${frame.message}`);
        return frame.request === 0 ? undefined : this.answer(frame);
      default: return frame.request ? this.answer(frame) : undefined;
    }
  }

  /** Makes a room with the user before and the user after, and begins to chat in it. */
  open() {
    const neighbours = [this.user - 1, this.user + 1].filter((user) => user >= FIRST_USER && user < FIRST_USER + VUS);
    const began = Date.now();
    this.ask({ kind: "create_room", room: this.room, name: `k6 of ${this.user}`, members: neighbours }, () => {
      roomDuration.add(Date.now() - began);
      this.sending = setInterval(() => this.send(), EVERY_MS);
      setTimeout(() => this.finish(), seconds(DURATION) * 1000);
    });
  }

  send() {
    const clientId = uuid(), text = `${this.user} says ${this.sent.size} ♪`;
    this.sent.set(clientId, { at: Date.now(), text });
    this.say({ kind: "typing", room: this.room, active: true });
    this.ask({ kind: "send", room: this.room, client_id: clientId, text }, (ack) => {
      this.sent.get(clientId).seq = ack.seq;
      errors.add(ack.kind !== "ack");
    });
  }

  event(event) {
    const last = this.last.get(event.room) ?? event.seq - 1;
    gaps.add(event.seq === last + 1 ? 0 : 1);
    this.last.set(event.room, Math.max(last, event.seq));
    const mine = event.event === "message" && this.sent.get(event.client_id);
    delivered.add(event.event === "message" ? 1 : 0);
    if (mine) {
      mine.isDelivered = true;
      messageDuration.add(Date.now() - mine.at);
    }
  }

  /** Waits for the last answers, reads the room's history and leaves. */
  finish() {
    clearInterval(this.sending);
    setTimeout(() => {
      this.ask({ kind: "mark_read", room: this.room, seq: this.last.get(this.room) ?? 0 }, () => {});
      this.history(0, new Map());
    }, 1000);
  }

  history(after, found) {
    this.ask({ kind: "sync", room: this.room, after_seq: after, limit: SYNC_LIMIT }, ({ head_seq: head, events }) => {
      for (const event of events) if (event.client_id) found.set(event.client_id, event);
      const last = events.length > 0 ? events[events.length - 1].seq : head;
      if (last < head) return this.history(last, found);
      this.isComplete = [...this.sent].every(([id, { seq, text, isDelivered }]) => {
        const event = found.get(id);
        return isDelivered && event && event.seq === seq && event.text === text;
      }) && this.sent.size > 0;
      return this.socket.close();
    });
  }

  ask(frame, done) {
    this.request += 1;
    this.waiting.set(this.request, done);
    this.say({ ...frame, request: this.request });
  }

  answer(frame) {
    const done = this.waiting.get(frame.request);
    this.waiting.delete(frame.request);
    if (done) done(frame);
  }

  say(frame) {
    this.socket.send(this.form.say(frame));
  }

  fail(what) {
    console.error(`user ${this.user}: ${what}`);
    errors.add(true);
    this.stop();
    this.socket.close();
  }

  stop() {
    clearInterval(this.sending);
  }
}

/** "90s", "2m" or "1h" in seconds. */
function seconds(text) {
  const [, count, unit] = /^(\d+)([smh])$/.exec(text) ?? [];
  if (!count) throw new Error(`DURATION is not a time such as 90s, 2m or 1h: ${text}`);
  return Number(count) * { s: 1, m: 60, h: 3600 }[unit];
}
