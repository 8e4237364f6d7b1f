// Frames as bytes and back, by docs/protocol.md. Runs in k6, Node.js and browsers: it needs nothing but the language.
//
// A frame is an object of the same shape as its JSON form: encode({ kind: "pong", stamp: 1 }), and
// decodeAll(bytes) gives the frames of one WebSocket message.

export const INT_MAX = Number.MAX_SAFE_INTEGER;

const SKIPPABLE = 0x01;
// Frames that a reader may pass over, and that say so.
const MAY_BE_SKIPPED = ["typing", "read"];
const USER = "user", INT = "int", TEXT = "text", ID = "id", BOOL = "bool", ROLE = "role", USERS = "users";
const list = (item) => ({ list: item });
const optional = (tag, form) => ({ tag, form });

const HEAD = { room: ID, seq: INT };
const ROOM_PAGE = { active_ms: INT, room: ID };
const MEMBER = { user: USER, role: ROLE, read_seq: INT };
const ROOM_ENTRY = {
  room: ID, name: TEXT, active_ms: INT, head_seq: INT, head_ordinal: INT, read_seq: INT, unread: INT, member_count: INT,
  preview: TEXT, preview_sender: optional(1, USER),
};
const EVENT = { room: ID, seq: INT, ordinal: INT, at_ms: INT, sender: USER, event: "event" };

// The fields of each frame in the order in which they travel.
const FRAMES = {
  hello: [0x01, { token: TEXT, device: TEXT, agent: optional(1, TEXT) }],
  create_room: [0x02, { request: INT, room: ID, name: TEXT, members: USERS }],
  add_members: [0x03, { request: INT, room: ID, members: USERS }],
  remove_member: [0x04, { request: INT, room: ID, user: USER }],
  leave: [0x05, { request: INT, room: ID }],
  send: [0x06, { request: INT, room: ID, client_id: ID, text: TEXT }],
  sync: [0x07, { request: INT, room: ID, after_seq: INT, limit: INT }],
  rooms: [0x08, { request: INT, changed_since: INT, limit: INT, page: optional(1, ROOM_PAGE) }],
  mark_read: [0x09, { request: INT, room: ID, seq: INT }],
  typing: [0x0a, { room: ID, active: BOOL, user: optional(1, USER) }],
  ping: [0x0b, { stamp: INT, heads: optional(1, list(HEAD)) }],
  pong: [0x0c, { stamp: INT }],
  refresh: [0x0d, { request: INT, token: TEXT }],
  members: [0x0e, { request: INT, room: ID, after_user: INT, limit: INT }],
  history: [0x0f, { request: INT, room: ID, from_seq: INT, limit: INT, at_ms: optional(1, INT) }],
  welcome: [0x41, {
    user: USER, now_ms: INT, ping_interval_ms: INT, frame_bytes_max: INT, text_bytes_max: INT, expires_ms: INT,
  }],
  ack: [0x42, { request: INT, seq: INT, ordinal: INT, at_ms: INT }],
  error: [0x43, { request: INT, code: INT, message: TEXT, retry_after_ms: optional(1, INT) }],
  event: [0x44, EVENT],
  events: [0x45, { request: INT, room: ID, head_seq: INT, events: list(EVENT) }],
  snapshot: [0x46, { request: INT, room: ID, head_seq: INT, head_ordinal: INT, from_seq: INT, name: TEXT }],
  room_list: [0x47, { request: INT, cursor: INT, rooms: list(ROOM_ENTRY), next: optional(1, ROOM_PAGE) }],
  read: [0x48, { room: ID, user: USER, seq: INT, unread: optional(1, INT) }],
  lagged: [0x4a, { room: ID, from_seq: INT }],
  go_away: [0x4b, { reconnect_after_ms: INT, jitter_ms: INT }],
  member_list: [0x4d, { request: INT, room: ID, members: list(MEMBER), more: BOOL }],
};

const EVENTS = {
  room_created: [0, { name: TEXT, members: USERS }],
  message: [1, { client_id: ID, text: TEXT }],
  members_added: [2, { members: USERS }],
  member_removed: [3, { user: USER }],
  member_left: [4, {}],
};

const named = (table) => new Map(Object.entries(table).map(([name, [number, fields]]) => [number, { name, fields }]));
const FRAME_OF = named(FRAMES), EVENT_OF = named(EVENTS);

/** The bytes of a frame. */
export function encode(frame) {
  const known = FRAMES[frame.kind];
  if (!known) throw new Error(`no frame is called ${frame.kind}`);
  const body = [];
  putRecord(body, known[1], frame);
  const out = [known[0], MAY_BE_SKIPPED.includes(frame.kind) ? SKIPPABLE : 0];
  putInt(out, body.length);
  return new Uint8Array(out.concat(body));
}

/** The frames in these bytes (a Uint8Array or an ArrayBuffer). Kinds that are not known and may be skipped are. */
export function decodeAll(bytes) {
  const reader = new Reader(bytes instanceof Uint8Array ? bytes : new Uint8Array(bytes));
  const frames = [];
  while (reader.at < reader.end) {
    const number = reader.byte(), flags = reader.byte(), body = reader.part(reader.int());
    const known = FRAME_OF.get(number);
    if (known) frames.push({ kind: known.name, ...body.record(known.fields) });
    else if (!(flags & SKIPPABLE)) throw new Error(`a frame of the unknown kind ${number}`);
  }
  return frames;
}

/** A random UUID of version 4. */
export function uuid() {
  const bytes = Array.from({ length: 16 }, () => Math.floor(Math.random() * 256));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  return idOf(bytes);
}

function putRecord(out, fields, values) {
  for (const [name, form] of Object.entries(fields)) {
    if (form.tag === undefined) put(out, form, values[name], values);
  }
  for (const [name, form] of Object.entries(fields)) {
    const value = values[name];
    if (form.tag === undefined || value === undefined || value === null || isEmptyHeads(name, value)) continue;
    const bytes = [];
    if (form.form === TEXT) putUtf8(bytes, value);
    else if (typeof form.form === "object" && !form.form.list) putRecord(bytes, form.form, value);
    else put(bytes, form.form, value, values);
    putInt(out, form.tag);
    putInt(out, bytes.length);
    append(out, bytes);
  }
}

// A ping without heads leaves them out.
const isEmptyHeads = (name, value) => name === "heads" && value.length === 0;

function put(out, form, value, record) {
  switch (form) {
    case INT: case USER: return putInt(out, value);
    case BOOL: return out.push(value ? 1 : 0);
    case ROLE: return out.push(value === "owner" ? 1 : 0);
    case ID: return append(out, bytesOf(value));
    case TEXT: return putLong(out, (bytes) => putUtf8(bytes, value));
    case USERS: putInt(out, value.length); return value.forEach((user) => putInt(out, user));
    case "event": {
      // An event of a later version goes on as it came, without its body.
      const [number, fields] = EVENTS[value] ?? [record.number, {}];
      out.push(number);
      return putLong(out, (bytes) => putRecord(bytes, fields, record));
    }
    default:
      putInt(out, value.length);
      return value.forEach((item) => putLong(out, (bytes) => putRecord(bytes, form.list, item)));
  }
}

function putLong(out, write) {
  const bytes = [];
  write(bytes);
  putInt(out, bytes.length);
  append(out, bytes);
}

// Not `push(...bytes)`: a long text has more bytes than a call may have arguments.
function append(out, bytes) {
  for (const byte of bytes) out.push(byte);
}

function putInt(out, value) {
  if (!Number.isSafeInteger(value) || value < 0) throw new Error(`not a whole number from 0 to 2^53 - 1: ${value}`);
  const length = value < 2 ** 6 ? 1 : value < 2 ** 14 ? 2 : value < 2 ** 30 ? 4 : 8;
  const bytes = [];
  for (let at = 0, rest = value; at < length; at += 1, rest = Math.floor(rest / 256)) bytes.unshift(rest % 256);
  bytes[0] |= { 1: 0x00, 2: 0x40, 4: 0x80, 8: 0xc0 }[length];
  append(out, bytes);
}

function putUtf8(out, text) {
  for (const character of text) {
    const point = character.codePointAt(0);
    if (point < 0x80) out.push(point);
    else if (point < 0x800) out.push(0xc0 | (point >> 6), 0x80 | (point & 0x3f));
    else if (point < 0x10000) out.push(0xe0 | (point >> 12), 0x80 | ((point >> 6) & 0x3f), 0x80 | (point & 0x3f));
    else {
      out.push(0xf0 | (point >> 18), 0x80 | ((point >> 12) & 0x3f), 0x80 | ((point >> 6) & 0x3f), 0x80 | (point & 0x3f));
    }
  }
}

class Reader {
  constructor(bytes, at = 0, end = bytes.length) {
    Object.assign(this, { bytes, at, end });
  }

  take(count) {
    if (count > this.end - this.at) throw new Error("a frame that ends too early");
    this.at += count;
    return this.bytes.subarray(this.at - count, this.at);
  }

  byte() {
    return this.take(1)[0];
  }

  part(count) {
    this.take(count);
    return new Reader(this.bytes, this.at - count, this.at);
  }

  int() {
    const first = this.byte();
    let value = first & 0x3f;
    for (const byte of this.take((1 << (first >> 6)) - 1)) value = value * 256 + byte;
    if (value > INT_MAX) throw new Error("a number above 2^53 - 1");
    return value;
  }

  record(fields) {
    const values = {}, tags = new Map();
    for (const [name, form] of Object.entries(fields)) {
      if (form.tag !== undefined) tags.set(form.tag, [name, form.form]);
      else this.field(values, name, form);
    }
    while (this.at < this.end) {
      const tag = this.int(), value = this.part(this.int());
      const known = tags.get(tag);
      if (known) values[known[0]] = value.whole(known[1]);
    }
    return values;
  }

  field(values, name, form) {
    if (form !== "event") {
      values[name] = this.value(form);
      return;
    }
    const kind = this.byte(), body = this.part(this.int()), known = EVENT_OF.get(kind);
    if (known) Object.assign(values, { event: known.name }, body.record(known.fields));
    else Object.assign(values, { event: "unknown", number: kind });
  }

  /** The value of an optional field: a text and a record have no length of their own there. */
  whole(form) {
    if (form === TEXT) return utf8(this.take(this.end - this.at));
    return typeof form === "object" && !form.list ? this.record(form) : this.value(form);
  }

  value(form) {
    switch (form) {
      case INT: case USER: return this.int();
      case BOOL: return this.byte() === 1;
      case ROLE: return this.byte() === 1 ? "owner" : "member";
      case ID: return idOf(this.take(16));
      case TEXT: return utf8(this.take(this.int()));
      case USERS: return this.items(() => this.int());
      default: return this.items(() => this.part(this.int()).record(form.list));
    }
  }

  items(each) {
    const count = this.int();
    if (count > this.end - this.at) throw new Error("a list that is longer than its frame");
    return Array.from({ length: count }, each);
  }
}

function utf8(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length;) {
    const first = bytes[at];
    const length = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    let point = length === 1 ? first : first & (0xff >> (length + 1));
    for (let more = 1; more < length; more += 1) point = (point << 6) | (bytes[at + more] & 0x3f);
    text += String.fromCodePoint(point);
    at += length;
  }
  return text;
}

function bytesOf(id) {
  return id.replace(/-/g, "").match(/../g).map((pair) => parseInt(pair, 16));
}

function idOf(bytes) {
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
