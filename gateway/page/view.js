// The frame around the conversation: signing in, the connection's state, the list of rooms, notices.
// It shows a state it is given and says what the user did; it decides nothing.

import { byId, h, icon, setHidden, setText, showItems } from './dom.js';
import { hue, personName, roomTitle, shortTime } from './format.js';

const NOTICE_MS = 8_000;
const NOTICES_MAX = 4;
const UNREAD_SHOWN_MAX = 99;

/** Shows the sign-in; `signIn` gets `{ user }` or `{ token }`. */
export function showSignIn({ signIn, error = '', byToken = false }) {
  const users = byId('sign-in-user');
  const tokens = byId('sign-in-token');
  const change = byId('sign-in-switch');
  const problem = byId('sign-in-error');
  const showForm = (token) => {
    setHidden(users, token);
    setHidden(tokens, !token);
    setText(change, token ? 'Sign in by user number' : 'I have a token');
    (token ? tokens.elements.token : users.elements.user).focus();
  };
  change.onclick = () => showForm(tokens.hidden);
  users.onsubmit = (event) => {
    event.preventDefault();
    const picked = event.submitter?.name === 'pick' ? event.submitter.value : users.elements.user.value;
    const user = Number(picked.trim());
    if (/^\d+$/.test(picked.trim()) && user >= 1 && Number.isSafeInteger(user)) signIn({ user });
    else setText(problem, 'A user number is 1, 2, 3, …');
  };
  tokens.onsubmit = (event) => {
    event.preventDefault();
    const token = tokens.elements.token.value.trim();
    if (token) signIn({ token });
    else setText(problem, 'Paste a token first.');
  };
  setText(problem, error);
  setHidden(byId('chat'), true);
  setHidden(byId('sign-in'), false);
  showForm(byToken);
}

export function showChat() {
  setHidden(byId('sign-in'), true);
  setHidden(byId('chat'), false);
}

/** Says something that went wrong, for a while. */
export function showNotice(text) {
  const notices = byId('notices');
  const notice = h('div', { class: 'notice' }, h('span', {}, text));
  const remove = () => notice.remove();
  const close = h('button', { type: 'button', class: 'icon', 'aria-label': 'Dismiss', onclick: remove }, icon('close'));
  notice.append(close);
  notices.append(notice);
  while (notices.children.length > NOTICES_MAX) notices.firstElementChild.remove();
  setTimeout(remove, NOTICE_MS);
}

/** Shows where the connection stands. */
export function showConnection(state, nowMs) {
  const status = byId('connection');
  const waitS = state.name === 'waiting' ? Math.max(0, Math.ceil((state.untilMs - nowMs) / 1000)) : 0;
  const words = {
    connecting: 'Connecting…',
    online: 'Online',
    waiting: waitS > 0 ? `Reconnecting in ${waitS} s` : 'Reconnecting…',
    refused: 'Not connected',
  };
  status.dataset.state = state.name;
  setText(status, words[state.name]);
  showBanner(state, waitS);
}

function showBanner(state, waitS) {
  const banner = byId('banner');
  // The first attempt has nothing to tell yet; after a loss the banner stays until the connection is back.
  if (state.name === 'connecting' && banner.hidden) return;
  setHidden(banner, state.name === 'online');
  banner.dataset.state = state.name;
  const code = state.code ? ` (${state.code})` : '';
  setText(byId('banner-text'), state.name === 'connecting' ? 'Reconnecting…' : `${state.why ?? ''}${code}`);
  setText(byId('banner-countdown'), waitS > 0 ? `Trying again in ${waitS} s.` : '');
  setText(byId('banner-retry'), state.name === 'refused' ? 'Sign in again' : 'Try now');
  setHidden(byId('banner-retry'), state.name === 'connecting');
}

export function showMe(user) {
  setText(byId('me-name'), personName(user));
  setText(byId('me-avatar'), avatarText(user));
  byId('me-avatar').style.setProperty('--hue', hue(user));
}

/** A person's number as it fits into a circle. */
export function avatarText(user) {
  const digits = String(user);
  return digits.length > 3 ? `…${digits.slice(-2)}` : digits;
}

/** Shows the rooms; `open` is the id of the one that is open. */
export function showRooms({ rooms, me, open, listed, nowMs }) {
  const sorted = rooms.sorted();
  const items = sorted.map((room) => roomItem(room, me, open, nowMs));
  showItems(byId('room-list'), items, createRoom, updateRoom);
  setHidden(byId('no-rooms'), !listed || items.length > 0);
  const total = rooms.unreadTotal;
  const name = sorted.some((room) => room.id === open) ? `${roomTitle(rooms.get(open))} · Carillon` : 'Carillon';
  const title = total > 0 ? `(${total}) ${name}` : name;
  if (document.title !== title) document.title = title;
}

/** What stands in the place of a conversation while there is none. */
export function showNothingOpen({ state, listed, wanted }) {
  const gone = wanted ? 'You are not in that room.' : 'Choose a room, or start a new one.';
  const early = state.name === 'refused' ? 'The gateway did not let you in.' : 'Connecting…';
  setText(byId('nothing-open-text'), listed ? gone : early);
}

function roomItem(room, me, open, nowMs) {
  const title = roomTitle(room);
  return {
    key: room.id,
    title,
    initial: [...title][0].toUpperCase(),
    hue: hue(room.id),
    time: shortTime(room.activeMs, nowMs),
    preview: previewText(room, me, nowMs),
    typing: room.typing(nowMs).length > 0,
    unread: room.unread,
    open: room.id === open,
  };
}

function previewText(room, me, nowMs) {
  const typing = room.typing(nowMs);
  if (typing.length > 0) return `${personName(typing[0])} is typing…`;
  if (!room.previewSender) return 'No messages yet';
  return `${room.previewSender === me ? 'You' : personName(room.previewSender)}: ${room.preview}`;
}

function createRoom() {
  const link = h(
    'a',
    { class: 'room-link' },
    h('span', { class: 'avatar square', 'aria-hidden': 'true' }),
    h('span', { class: 'room-name' }),
    h('time', { class: 'room-time' }),
    h('span', { class: 'room-preview' }),
    h('span', { class: 'badge', hidden: true }, h('span'), h('span', { class: 'unseen' }, ' unread')),
  );
  return h('li', {}, link);
}

function updateRoom(element, item) {
  const [link] = element.children;
  const [avatar, name, time, preview, badge] = link.children;
  link.setAttribute('href', `#${item.key}`);
  if (item.open) link.setAttribute('aria-current', 'true');
  else link.removeAttribute('aria-current');
  setText(avatar, item.initial);
  avatar.style.setProperty('--hue', item.hue);
  setText(name, item.title);
  setText(time, item.time);
  setText(preview, item.preview);
  preview.classList.toggle('is-typing', item.typing);
  setHidden(badge, item.unread === 0);
  setText(badge.firstElementChild, item.unread > UNREAD_SHOWN_MAX ? `${UNREAD_SHOWN_MAX}+` : String(item.unread));
}
