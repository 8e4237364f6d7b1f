#!/usr/bin/env python3
"""A small Carillon client for TCP, written from docs/protocol.md with nothing but the standard library.

    client.py --vectors DIR       checks the codec below against the golden vectors
    client.py scenario --address HOST:PORT --token-a TOKEN --token-b TOKEN --user-b ID
                                  two users meet in a room; exits with 1 where anything is not as promised
"""

import argparse
import json
import pathlib
import socket
import sys
import uuid

INT_MAX = 2**53 - 1
SKIPPABLE = 0x01
FRAME_BYTES_MAX = 65536
ANSWER_TIMEOUT_S = 10

# Fields in the order in which they travel: name, form, and the tag where the field is optional.
ITEMS = {
    "Head": [("room", "id"), ("seq", "int")],
    "RoomPage": [("active_ms", "int"), ("room", "id")],
    "Member": [("user", "user"), ("role", "role"), ("read_seq", "int")],
    "RoomEntry": [
        ("room", "id"), ("name", "text"), ("active_ms", "int"), ("head_seq", "int"), ("head_ordinal", "int"),
        ("read_seq", "int"), ("unread", "int"), ("member_count", "int"), ("preview", "text"),
        ("preview_sender", "user", 1),
    ],
    "Event": [
        ("room", "id"), ("seq", "int"), ("ordinal", "int"), ("at_ms", "int"), ("sender", "user"),
        ("event", "event"),
    ],
}

EVENTS = {
    "room_created": (0, [("name", "text"), ("members", "list of user")]),
    "message": (1, [("client_id", "id"), ("text", "text")]),
    "members_added": (2, [("members", "list of user")]),
    "member_removed": (3, [("user", "user")]),
    "member_left": (4, []),
}

FRAMES = {
    "hello": (0x01, [("token", "text"), ("device", "text"), ("agent", "text", 1)]),
    "create_room": (0x02, [("request", "int"), ("room", "id"), ("name", "text"), ("members", "list of user")]),
    "add_members": (0x03, [("request", "int"), ("room", "id"), ("members", "list of user")]),
    "remove_member": (0x04, [("request", "int"), ("room", "id"), ("user", "user")]),
    "leave": (0x05, [("request", "int"), ("room", "id")]),
    "send": (0x06, [("request", "int"), ("room", "id"), ("client_id", "id"), ("text", "text")]),
    "sync": (0x07, [("request", "int"), ("room", "id"), ("after_seq", "int"), ("limit", "int")]),
    "rooms": (0x08, [("request", "int"), ("changed_since", "int"), ("limit", "int"), ("page", "RoomPage", 1)]),
    "mark_read": (0x09, [("request", "int"), ("room", "id"), ("seq", "int")]),
    "typing": (0x0A, [("room", "id"), ("active", "bool"), ("user", "user", 1)]),
    "ping": (0x0B, [("stamp", "int"), ("heads", "list of Head", 1)]),
    "pong": (0x0C, [("stamp", "int")]),
    "refresh": (0x0D, [("request", "int"), ("token", "text")]),
    "members": (0x0E, [("request", "int"), ("room", "id"), ("after_user", "int"), ("limit", "int")]),
    "history": (0x0F, [("request", "int"), ("room", "id"), ("from_seq", "int"), ("limit", "int"), ("at_ms", "int", 1)]),
    "welcome": (0x41, [
        ("user", "user"), ("now_ms", "int"), ("ping_interval_ms", "int"), ("frame_bytes_max", "int"),
        ("text_bytes_max", "int"), ("expires_ms", "int"),
    ]),
    "ack": (0x42, [("request", "int"), ("seq", "int"), ("ordinal", "int"), ("at_ms", "int")]),
    "error": (0x43, [("request", "int"), ("code", "code"), ("message", "text"), ("retry_after_ms", "int", 1)]),
    "event": (0x44, ITEMS["Event"]),
    "events": (0x45, [("request", "int"), ("room", "id"), ("head_seq", "int"), ("events", "list of Event")]),
    "snapshot": (0x46, [
        ("request", "int"), ("room", "id"), ("head_seq", "int"), ("head_ordinal", "int"), ("from_seq", "int"),
        ("name", "text"),
    ]),
    "room_list": (0x47, [
        ("request", "int"), ("cursor", "int"), ("rooms", "list of RoomEntry"), ("next", "RoomPage", 1),
    ]),
    "read": (0x48, [("room", "id"), ("user", "user"), ("seq", "int"), ("unread", "int", 1)]),
    "lagged": (0x4A, [("room", "id"), ("from_seq", "int")]),
    "go_away": (0x4B, [("reconnect_after_ms", "int"), ("jitter_ms", "int")]),
    "member_list": (0x4D, [("request", "int"), ("room", "id"), ("members", "list of Member"), ("more", "bool")]),
}

SKIPPABLE_FRAMES = {"typing", "read"}
ROLES = ["member", "owner"]
FRAME_NAMES = {number: name for name, (number, _) in FRAMES.items()}
EVENT_NAMES = {number: name for name, (number, _) in EVENTS.items()}


class Malformed(Exception):
    """Bytes that are not of this protocol."""


# --- writing


def write_int(value):
    for length, prefix in ((1, 0), (2, 1), (4, 2), (8, 3)):
        if value < 1 << (8 * length - 2):
            return (value | prefix << (8 * length - 2)).to_bytes(length, "big")
    raise ValueError(f"{value} is too big")


def write_sized(data):
    return write_int(len(data)) + data


def write_field(form, value, record):
    if form in ("int", "user", "code"):
        return write_int(value)
    if form == "id":
        return uuid.UUID(value).bytes
    if form == "bool":
        return bytes([value])
    if form == "role":
        return bytes([ROLES.index(value)])
    if form == "text":
        return write_sized(value.encode())
    if form == "event":
        number, fields = EVENTS.get(value) or (record["number"], [])
        return bytes([number]) + write_sized(write_record(fields, record))
    if form == "list of user":
        return write_int(len(value)) + b"".join(map(write_int, value))
    if form.startswith("list of "):
        items = (write_sized(write_record(ITEMS[form[8:]], item)) for item in value)
        return write_int(len(value)) + b"".join(items)
    return write_record(ITEMS[form], value)


def write_record(fields, record):
    data = b""
    for name, form, *tag in fields:
        if not tag:
            data += write_field(form, record[name], record)
        elif record.get(name) is not None:
            value = record[name].encode() if form == "text" else write_field(form, record[name], record)
            data += write_int(tag[0]) + write_sized(value)
    return data


def encode(frame):
    number, fields = FRAMES[frame["kind"]]
    flags = SKIPPABLE if frame["kind"] in SKIPPABLE_FRAMES else 0
    return bytes([number, flags]) + write_sized(write_record(fields, frame))


# --- reading


class Reader:
    """Bytes whose end is known."""

    def __init__(self, data):
        self.data = data

    def take(self, length):
        if length > len(self.data):
            raise Malformed("cut short")
        taken, self.data = self.data[:length], self.data[length:]
        return taken

    def varint(self):
        first = self.take(1)
        rest = self.take((1 << (first[0] >> 6)) - 1)
        return int.from_bytes(bytes([first[0] & 0x3F]) + rest, "big")

    def int(self, low=0, high=INT_MAX):
        value = self.varint()
        if not low <= value <= high:
            raise Malformed(f"{value} is not from {low} to {high}")
        return value

    def sized(self):
        return self.take(self.varint())

    def list(self, item):
        count = self.varint()
        if count > len(self.data):
            raise Malformed("more items than bytes")
        return [item() for _ in range(count)]


def read_text(data):
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Malformed("not UTF-8") from error


def read_field(form, reader, record):
    if form == "int":
        return reader.int()
    if form == "user":
        return reader.int(low=1)
    if form == "code":
        return reader.int(high=65535)
    if form == "id":
        return str(uuid.UUID(bytes=reader.take(16)))
    if form == "bool":
        value = reader.take(1)[0]
        if value > 1:
            raise Malformed("neither yes nor no")
        return bool(value)
    if form == "role":
        value = reader.take(1)[0]
        return ROLES[value] if value < len(ROLES) else "member"
    if form == "text":
        return read_text(reader.sized())
    if form == "event":
        return read_event(reader, record)
    if form == "list of user":
        return reader.list(lambda: reader.int(low=1))
    if form.startswith("list of "):
        return reader.list(lambda: read_record(ITEMS[form[8:]], reader.sized()))
    return read_fields(ITEMS[form], reader)


def read_event(reader, record):
    """The name of the event; the fields of its body go beside it."""
    number = reader.take(1)[0]
    body = reader.sized()
    if number not in EVENT_NAMES:
        record["number"] = number
        return "unknown"
    record.update(read_record(EVENTS[EVENT_NAMES[number]][1], body))
    return EVENT_NAMES[number]


def read_fields(fields, reader):
    record = {}
    for name, form, *tag in fields:
        if not tag:
            record[name] = read_field(form, reader, record)
    return record


def read_value(form, data):
    if form == "text":
        return read_text(data)
    reader = Reader(data)
    value = read_field(form, reader, {})
    read_optional([], reader)
    return value


def read_optional(fields, reader):
    known = {tag[0]: (name, form) for name, form, *tag in fields if tag}
    record = {}
    while reader.data:
        tag, data = reader.varint(), reader.sized()
        if tag not in known:
            continue
        name, form = known[tag]
        if name in record:
            raise Malformed(f"{name} is there twice")
        record[name] = read_value(form, data)
    return record


def read_record(fields, data):
    reader = Reader(data)
    return read_fields(fields, reader) | read_optional(fields, reader)


def decode(data, frame_bytes_max=FRAME_BYTES_MAX):
    """The frame at the start of the bytes and how many it took. The frame is None where it is passed over; both are None where
    there is not enough yet."""
    if len(data) < 3 or len(data) < 2 + (1 << (data[2] >> 6)):
        return None, None
    reader = Reader(data[2:11])
    length = reader.varint()
    start = 2 + (1 << (data[2] >> 6))
    if start + length > frame_bytes_max:
        raise Malformed("too large")
    name = FRAME_NAMES.get(data[0])
    if name is None and not data[1] & SKIPPABLE:
        raise Malformed(f"unknown frame {data[0]}")
    if len(data) < start + length:
        return None, None
    if name is None:
        return None, start + length
    body = data[start : start + length]
    return {"kind": name} | read_record(FRAMES[name][1], body), start + length


# --- talking


class Refused(Exception):
    """The gateway's `error`."""

    def __init__(self, frame):
        super().__init__(f"{frame['code']}: {frame['message']}")
        self.code = frame["code"]


class Client:
    """A session of one user. `events` holds, for each room, the events in order and without a gap."""

    def __init__(self, address, token, device):
        self.socket = socket.create_connection(address, timeout=ANSWER_TIMEOUT_S)
        self.buffer = b""
        self.requests = 0
        self.events = {}
        self.held = {}
        self.behind = set()
        self.welcome = self.login(token, device)

    def login(self, token, device):
        self.write({"kind": "hello", "token": token, "device": device, "agent": "client.py"})
        while (frame := self.next_frame())["kind"] != "welcome":
            self.take(frame)
        return frame

    def create_room(self, room, name, members):
        return self.ask({"kind": "create_room", "room": room, "name": name, "members": members})

    def send(self, room, client_id, text):
        return self.ask({"kind": "send", "room": room, "client_id": client_id, "text": text})

    def mark_read(self, room, seq):
        return self.ask({"kind": "mark_read", "room": room, "seq": seq})

    def rooms(self):
        """All rooms by id."""
        rooms, page = {}, None
        while True:
            answer = self.ask({"kind": "rooms", "changed_since": 0, "limit": 0, "page": page})
            rooms |= {entry["room"]: entry for entry in answer["rooms"]}
            page = answer.get("next")
            if page is None:
                return rooms

    def sync(self, room):
        """Fetches what is missing of a room, and gives its events."""
        while True:
            answer = self.ask({"kind": "sync", "room": room, "after_seq": self.last(room), "limit": 0})
            if answer["kind"] == "snapshot":
                self.events[room] = [{"seq": answer["from_seq"]}]
                continue
            before = self.last(room)
            for event in answer["events"]:
                self.place(event)
            if self.last(room) >= answer["head_seq"]:
                self.behind.discard(room)
                return self.events.get(room, [])
            if self.last(room) == before:
                raise Malformed("the room goes on, and sync does not")

    def last(self, room):
        events = self.events.get(room)
        return events[-1]["seq"] if events else 0

    def place(self, event):
        """Puts an event in its place: dropped where it is known, held where others are missing before it."""
        room, held = event["room"], self.held.setdefault(event["room"], {})
        held[event["seq"]] = event
        while (next_event := held.pop(self.last(room) + 1, None)) is not None:
            self.events.setdefault(room, []).append(next_event)
        for seq in [seq for seq in held if seq <= self.last(room)]:
            del held[seq]
        if held:
            self.behind.add(room)

    def take(self, frame):
        """What comes without being asked for."""
        if frame["kind"] == "event":
            self.place({name: value for name, value in frame.items() if name != "kind"})
        elif frame["kind"] == "ping":
            self.write({"kind": "pong", "stamp": frame["stamp"]})
            moved = (head for head in frame.get("heads", []) if head["seq"] > self.last(head["room"]))
            self.behind |= {head["room"] for head in moved}
        elif frame["kind"] == "lagged":
            self.behind.add(frame["room"])
        elif frame["kind"] == "error":
            raise Refused(frame)
        elif frame["kind"] == "go_away":
            raise ConnectionError("the node is leaving")

    def ask(self, frame):
        self.requests += 1
        self.write(frame | {"request": self.requests})
        while (answer := self.next_frame()).get("request") != self.requests:
            self.take(answer)
        if answer["kind"] == "error":
            raise Refused(answer)
        return answer

    def wait_for(self, room, seq):
        """Waits until an event is there, and gives it."""
        while self.last(room) < seq:
            if room in self.behind:
                self.sync(room)
            else:
                self.take(self.next_frame())
        return next(event for event in self.events[room] if event["seq"] == seq)

    def write(self, frame):
        self.socket.sendall(encode(frame))

    def next_frame(self):
        while True:
            frame, used = decode(self.buffer, 1 << 24)
            if used is not None:
                self.buffer = self.buffer[used:]
                if frame is not None:
                    return frame
                continue
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError("the gateway closed the connection")
            self.buffer += data


# --- checking


def equal(what, found, expected):
    if found != expected:
        raise AssertionError(f"{what}: {found!r}, and not {expected!r}")


def check_vectors(folder):
    def load(name):
        return json.loads((folder / name).read_text(encoding="utf-8"))

    count = 0
    for vector in load("frames.json") + load("events.json") + load("ints.json"):
        data = bytes.fromhex(vector["hex"])
        equal(vector["name"], decode(data), (vector["json"], len(data)))
        equal(vector["name"], encode(vector["json"]).hex(), vector["hex"])
        for length in range(len(data)):
            equal(f"{vector['name']}, {length} bytes", decode(data[:length]), (None, None))
        count += 1
    for vector in load("later.json"):
        data = bytes.fromhex(vector["hex"])
        equal(vector["name"], decode(data), (vector["json"], len(data)))
        count += 1
    for vector in load("malformed.json"):
        try:
            found = decode(bytes.fromhex(vector["hex"]))
        except Malformed:
            count += 1
            continue
        raise AssertionError(f"{vector['name']}: taken for {found}")
    print(f"{count} vectors hold")


def check_scenario(address, token_a, token_b, user_b):
    a = Client(address, token_a, "a's terminal")
    b = Client(address, token_b, "b's terminal")
    user_a = a.welcome["user"]
    equal("b's user id", b.welcome["user"], user_b)

    room = str(uuid.uuid4())
    equal("create_room", a.create_room(room, "Bells", [user_b])["seq"], 1)
    equal("create_room, repeated", a.create_room(room, "Bells", [user_b])["seq"], 1)

    first = str(uuid.uuid4())
    ack = a.send(room, first, "ding")
    equal("send", (ack["seq"], ack["ordinal"]), (2, 1))
    again = a.send(room, first, "ding")
    equal("send, repeated", (again["seq"], again["ordinal"]), (2, 1))
    try:
        a.send(room, first, "another text")
        raise AssertionError("another text under a used client_id was taken")
    except Refused as refused:
        equal("another text under a used client_id", refused.code, 204)
    equal("second send", a.send(room, str(uuid.uuid4()), "dong 🔔")["seq"], 3)

    event = b.wait_for(room, 3)
    equal("what b hears", (event["sender"], event["event"], event["text"]), (user_a, "message", "dong 🔔"))

    late = Client(address, token_b, "b's second terminal")
    history = [(event["seq"], event["ordinal"], event["event"], event.get("text")) for event in late.sync(room)]
    equal("sync", history, [(1, 0, "room_created", None), (2, 1, "message", "ding"), (3, 2, "message", "dong 🔔")])

    equal("unread for b", b.rooms()[room]["unread"], 2)
    equal("unread for a", a.rooms()[room]["unread"], 0)
    equal("mark_read", b.mark_read(room, 2)["seq"], 2)
    equal("unread for b after the first", b.rooms()[room]["unread"], 1)
    b.mark_read(room, 3)
    equal("mark_read, back", b.mark_read(room, 1)["seq"], 3)
    entry = late.rooms()[room]
    equal("the room for b's other device", (entry["unread"], entry["read_seq"], entry["head_seq"]), (0, 3, 3))
    equal("its preview", (entry["name"], entry["preview"], entry["preview_sender"]), ("Bells", "dong 🔔", user_a))
    print("all as promised")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=pathlib.Path, metavar="DIR")
    commands = parser.add_subparsers(dest="command")
    scenario = commands.add_parser("scenario")
    scenario.add_argument("--address", required=True)
    scenario.add_argument("--token-a", required=True)
    scenario.add_argument("--token-b", required=True)
    scenario.add_argument("--user-b", required=True, type=int)
    given = parser.parse_args()
    if given.vectors is None and given.command is None:
        parser.error("give --vectors or scenario")
    try:
        if given.vectors is not None:
            check_vectors(given.vectors)
        if given.command == "scenario":
            host, port = given.address.rsplit(":", 1)
            check_scenario((host.strip("[]"), int(port)), given.token_a, given.token_b, given.user_b)
    except (AssertionError, KeyError, Malformed, OSError, Refused) as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
