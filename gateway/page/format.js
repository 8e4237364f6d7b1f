// How times, people and rooms are written. Pure, and in the reader's own language where the browser knows it.

const GROUP_GAP_MS = 5 * 60_000;

export function personName(user) {
  return `User ${user}`;
}

/** “1”, “1 and 2”, “1, 2 and 3”: of the names given. */
export function joinNames(names) {
  if (names.length < 2) return names.join('');
  return `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`;
}

/** What a room is called: by its name, else by who is in it. */
export function roomTitle(room) {
  if (room.name) return room.name;
  const others = room.others.slice(0, 4).map(personName);
  if (others.length > 0) return joinNames(others);
  return room.members ? 'Just you' : 'Room';
}

export function clockTime(ms) {
  return new Date(ms).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
}

export function sameDay(a, b) {
  return new Date(a).toDateString() === new Date(b).toDateString();
}

export function dayLabel(ms, nowMs) {
  if (sameDay(ms, nowMs)) return 'Today';
  const yesterday = new Date(nowMs);
  yesterday.setDate(yesterday.getDate() - 1);
  if (sameDay(ms, yesterday)) return 'Yesterday';
  const year = new Date(ms).getFullYear() === new Date(nowMs).getFullYear() ? undefined : 'numeric';
  return new Date(ms).toLocaleDateString([], { weekday: 'long', day: 'numeric', month: 'long', year });
}

/** The time of a room's last event, as short as it can be. */
export function shortTime(ms, nowMs) {
  if (sameDay(ms, nowMs)) return clockTime(ms);
  return new Date(ms).toLocaleDateString([], { day: 'numeric', month: 'short' });
}

/** A colour that stays with a person or a room: degrees on the wheel, neighbours far apart. */
export function hue(id) {
  const number = typeof id === 'number' ? id : Number.parseInt(id.slice(0, 8), 16);
  return Math.round((number * 137.508) % 360);
}

/** Whether a message follows another closely enough to stand under the same name. */
export function continues(before, message) {
  return (
    before?.type === 'message' &&
    before.sender === message.sender &&
    message.at_ms - before.at_ms < GROUP_GAP_MS &&
    sameDay(before.at_ms, message.at_ms)
  );
}

/** The sentence for an event that is not a message; empty for one that this page does not know. */
export function eventSentence(event, me) {
  const name = (user) => (user === me ? 'You' : personName(user));
  const who = name(event.sender);
  switch (event.event) {
    case 'room_created': {
      const members = event.members.map((user) => (user === me ? 'you' : personName(user)));
      return members.length > 0 ? `${who} started this room with ${joinNames(members)}` : `${who} started this room`;
    }
    case 'members_added':
      return `${who} added ${joinNames(event.members.map((user) => (user === me ? 'you' : personName(user))))}`;
    case 'member_removed':
      return `${who} removed ${personName(event.user)}`;
    case 'member_left':
      return `${who} left`;
    default:
      return '';
  }
}

/** User numbers out of what somebody typed; throws a sentence where it is not a list of numbers. */
export function parseUsers(text) {
  const words = text.split(/[\s,;]+/).filter(Boolean);
  const users = words.map((word) => {
    const user = Number(word);
    if (!/^\d+$/.test(word) || user < 1 || !Number.isSafeInteger(user)) {
      throw new Error(`“${word}” is not a user number.`);
    }
    return user;
  });
  return [...new Set(users)];
}
