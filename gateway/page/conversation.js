// The open room: its messages, who is typing, and the place to write.
// It shows a state it is given and says what the user did (`actions`).

import { byId, h, icon, setHidden, setText, showItems } from './dom.js';
import { clockTime, hue, joinNames, personName, roomTitle } from './format.js';
import { conversationItems } from './items.js';
import { avatarText } from './view.js';

/** So near to the end counts as reading the newest message. */
const NEAR_END_PX = 80;
/** So near to the start loads what came before. */
const NEAR_START_PX = 200;
/** From here on the writer is told how much space is left. */
const SPACE_WARNING_BYTES = 500;

const STATE_WORDS = { pending: 'Sending', sent: 'Sent', seen: 'Seen' };

export class Conversation {
  #actions;
  #me = null;
  #shown = null;
  #newAfter = Infinity;
  #atEnd = true;
  /** Whether a room that was just opened is still to be scrolled to what is new in it. */
  #toNew = false;
  #drafts = new Map();
  #textBytesMax = Infinity;

  /** @param {{send(text), typing(draft), older(), retry(clientId), discard(clientId), scrolled()}} actions */
  constructor(actions) {
    this.#actions = actions;
    const scroller = byId('scroller');
    scroller.addEventListener('scroll', () => this.#scrolled());
    new ResizeObserver(() => this.#atEnd && this.#toEnd()).observe(scroller);
    byId('to-newest').onclick = () => this.#toEnd();
    byId('composer').onsubmit = (event) => {
      event.preventDefault();
      this.#submit();
    };
    const draft = byId('draft');
    draft.oninput = () => this.#draftChanged();
    draft.onkeydown = (event) => {
      // While an input method composes, Enter chooses a word.
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#submit();
    };
  }

  /** Whether the newest message is in view. */
  get atEnd() {
    return this.#atEnd;
  }

  limits({ me, textBytesMax }) {
    this.#me = me;
    this.#textBytesMax = textBytesMax;
  }

  /** Shows a room, or nothing. */
  show({ room, unsent, loading, nowMs }) {
    setHidden(byId('open-room'), !room);
    setHidden(byId('nothing-open'), Boolean(room));
    document.body.classList.toggle('in-room', Boolean(room));
    if (this.#shown !== (room?.id ?? null)) this.#change(room);
    if (!room) return;
    this.#showHead(room);
    this.#showMessages(room, unsent, loading, nowMs);
    setText(byId('typing'), typingSentence(room.typing(nowMs)));
  }

  #change(room) {
    const draft = byId('draft');
    if (this.#shown) this.#drafts.set(this.#shown, draft.value);
    this.#shown = room?.id ?? null;
    byId('messages').replaceChildren();
    this.#atEnd = true;
    if (!room) return;
    this.#newAfter = room.unread > 0 ? room.clearedOrdinal : Infinity;
    this.#toNew = room.unread > 0;
    draft.value = this.#drafts.get(room.id) ?? '';
    this.#fitDraft();
    // On a touch screen the keyboard would jump up and hide what one came to read.
    if (matchMedia('(pointer: fine)').matches) draft.focus();
  }

  #showHead(room) {
    setText(byId('room-title'), roomTitle(room));
    const count = room.memberCount === 1 ? '1 member' : `${room.memberCount} members`;
    const names = room.members && room.members.size <= 5 ? ` · ${[...room.members.keys()].join(', ')}` : '';
    setText(byId('room-members'), count + names);
  }

  #showMessages(room, unsent, loading, nowMs) {
    const list = byId('messages');
    const scroller = byId('scroller');
    const fromEnd = scroller.scrollHeight - scroller.scrollTop;
    scroller.setAttribute('aria-busy', String(loading));
    const items = conversationItems({ room, unsent, me: this.#me, newAfter: this.#newAfter, nowMs });
    showItems(list, items, createItem, (element, item) => updateItem(element, item, this.#actions));
    this.#showBeginning(room, items, loading);
    if (this.#toNew && !loading) this.#toFirstNew();
    else if (this.#atEnd) this.#toEnd();
    // What was loaded came in above: keep what is being read where it is.
    else if (list.dataset.after !== String(room.log.after)) scroller.scrollTop = scroller.scrollHeight - fromEnd;
    list.dataset.after = room.log.after;
    setHidden(byId('to-newest'), this.#atEnd);
    if (scroller.scrollHeight <= scroller.clientHeight && room.log.hasOlder && !loading) this.#actions.older();
  }

  #showBeginning(room, items, loading) {
    const beginning = byId('beginning');
    setHidden(beginning, !room.log.hasOlder && items.length > 0 && !room.log.oldest);
    if (room.log.isFull) setText(beginning, 'This page shows no more than that at once.');
    else if (loading || room.log.hasOlder) setText(beginning, 'Loading…');
    else setText(beginning, room.log.oldest ? 'Older messages are no longer kept here.' : 'Nothing here yet.');
  }

  #scrolled() {
    const scroller = byId('scroller');
    this.#atEnd = this.#isNearEnd();
    if (scroller.scrollTop < NEAR_START_PX) this.#actions.older();
    setHidden(byId('to-newest'), this.#atEnd);
    this.#actions.scrolled();
  }

  #toEnd() {
    const scroller = byId('scroller');
    scroller.scrollTop = scroller.scrollHeight;
    this.#atEnd = true;
  }

  /** Starts reading where the user left off, if that is held; else at the end. */
  #toFirstNew() {
    this.#toNew = false;
    const line = byId('messages').querySelector('.new');
    this.#toEnd();
    line?.scrollIntoView({ block: 'nearest' });
    this.#atEnd = this.#isNearEnd();
  }

  #isNearEnd() {
    const scroller = byId('scroller');
    return scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR_END_PX;
  }

  #submit() {
    const draft = byId('draft');
    const text = draft.value.trim();
    if (text === '' || this.#bytesLeft(text) < 0) return;
    if (!this.#actions.send(text)) {
      setText(byId('draft-problem'), 'Too many messages are waiting to be sent. Wait until they are gone.');
      return;
    }
    draft.value = '';
    this.#newAfter = Infinity;
    this.#atEnd = true;
    this.#draftChanged();
    this.#toEnd();
  }

  #draftChanged() {
    const { value } = byId('draft');
    const left = this.#bytesLeft(value.trim());
    const problem = left < 0 ? `Too long by ${-left} bytes.` : left < SPACE_WARNING_BYTES ? `${left} bytes left.` : '';
    setText(byId('draft-problem'), problem);
    this.#fitDraft();
    this.#actions.typing(value);
  }

  #bytesLeft(text) {
    return this.#textBytesMax - new TextEncoder().encode(text).length;
  }

  /** The field grows with what is written; style.css sets its largest height. */
  #fitDraft() {
    const draft = byId('draft');
    draft.style.height = 'auto';
    draft.style.height = `${draft.scrollHeight}px`;
  }
}

function typingSentence(users) {
  if (users.length === 0) return '';
  const names = users.slice(0, 3).map(personName);
  return `${joinNames(names)} ${users.length === 1 ? 'is' : 'are'} typing…`;
}

function createItem(item) {
  if (item.type !== 'message') return h('li', { class: item.type }, h('span', {}));
  return h(
    'li',
    { class: 'message' },
    h('span', { class: 'avatar', 'aria-hidden': 'true' }),
    h('span', { class: 'sender' }),
    h('div', { class: 'bubble' }, h('p', { class: 'text', dir: 'auto' }), h('span', { class: 'meta' })),
    h('p', { class: 'seen-by' }),
    h('p', { class: 'failure' }),
  );
}

function updateItem(element, item, actions) {
  if (item.type !== 'message') {
    setText(element.firstElementChild, item.text);
    return;
  }
  const [avatar, sender, bubble, seenBy, failure] = element.children;
  element.classList.toggle('mine', item.mine);
  element.classList.toggle('continued', item.continued);
  element.dataset.state = item.state;
  setText(avatar, avatarText(item.sender));
  element.style.setProperty('--hue', hue(item.sender));
  setText(sender, item.mine ? 'You' : personName(item.sender));
  const [text, meta] = bubble.children;
  setText(text, item.text);
  showMeta(meta, item);
  showSeenBy(seenBy, item.seenBy);
  showFailure(failure, item, actions);
}

function showMeta(meta, item) {
  const time = h('time', { datetime: new Date(item.at_ms).toISOString() }, clockTime(item.at_ms));
  const word = STATE_WORDS[item.state];
  if (!item.mine || !word) {
    meta.replaceChildren(time);
    return;
  }
  const state = h('span', { class: 'state', title: word }, icon(item.state), h('span', { class: 'unseen' }, word));
  meta.replaceChildren(time, state);
}

function showSeenBy(element, users) {
  setHidden(element, users.length === 0);
  if (users.length === 0) {
    element.replaceChildren();
    return;
  }
  const circles = users.slice(0, 6).map((user) => {
    const circle = h('span', { class: 'avatar tiny', 'aria-hidden': 'true' }, avatarText(user));
    circle.style.setProperty('--hue', hue(user));
    return circle;
  });
  const more = users.length > circles.length ? [`+${users.length - circles.length}`] : [];
  const words = h('span', { class: 'unseen' }, `Seen by ${joinNames(users.map(personName))}`);
  element.replaceChildren(words, ...circles, ...more);
}

function showFailure(element, item, actions) {
  setHidden(element, item.state !== 'failed');
  if (item.state !== 'failed') {
    element.replaceChildren();
    return;
  }
  const retry = () => actions.retry(item.clientId);
  const discard = () => actions.discard(item.clientId);
  element.replaceChildren(
    h('span', { role: 'alert' }, `Not sent. ${item.why}`),
    h('button', { type: 'button', class: 'link', onclick: retry }, 'Try again'),
    h('button', { type: 'button', class: 'link', onclick: discard }, 'Discard'),
  );
}
