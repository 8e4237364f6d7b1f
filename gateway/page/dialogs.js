// The two dialogs: a new room, and who is in the open one. Each action is a promise; its failure is shown
// where it was asked for.

import { byId, h, setText, showItems } from './dom.js';
import { hue, parseUsers, personName } from './format.js';
import { avatarText } from './view.js';

/** @param {{createRoom(name, members): Promise, addMembers(members): Promise, leave(): Promise, details()}} actions */
export function bindDialogs(actions) {
  for (const button of document.querySelectorAll('[data-close]')) {
    button.onclick = () => button.closest('dialog').close();
  }
  bindNewRoom(actions);
  bindDetails(actions);
}

function bindNewRoom({ createRoom }) {
  const dialog = byId('new-room-dialog');
  const form = dialog.querySelector('form');
  const open = () => {
    form.reset();
    setText(form.querySelector('.error'), '');
    dialog.showModal();
  };
  byId('new-room').onclick = open;
  byId('first-room').onclick = open;
  form.onsubmit = (event) => {
    event.preventDefault();
    const { name, members } = form.elements;
    carryOut(dialog, () => createRoom(name.value.trim(), parseUsers(members.value)));
  };
}

function bindDetails({ addMembers, leave, details }) {
  const dialog = byId('details-dialog');
  const form = byId('add-members');
  byId('details').onclick = () => {
    form.reset();
    setText(dialog.querySelector('.error'), '');
    details();
    dialog.showModal();
  };
  form.onsubmit = (event) => {
    event.preventDefault();
    carryOut(dialog, () => addMembers(parseUsers(form.elements.members.value)));
  };
  byId('leave').onclick = () => carryOut(dialog, leave);
}

/** Does it, then closes the dialog; or says in it why not. */
async function carryOut(dialog, action) {
  const problem = dialog.querySelector('.error');
  const buttons = [...dialog.querySelectorAll('button:not([data-close])')];
  setText(problem, '');
  for (const button of buttons) button.disabled = true;
  try {
    await action();
    dialog.close();
  } catch (error) {
    setText(problem, error.code ? `${error.message} (${error.code})` : error.message);
  } finally {
    for (const button of buttons) button.disabled = false;
  }
}

/** Shows who is in the room, while its dialog is open. */
export function showMembers(room, me) {
  const dialog = byId('details-dialog');
  if (!dialog.open) return;
  if (!room) {
    dialog.close();
    return;
  }
  const items = [...(room.members ?? [])].map(([user, { role, readSeq }]) => ({
    key: user,
    user,
    name: user === me ? `${personName(user)} (you)` : personName(user),
    owner: role === 'owner',
    upToDate: readSeq >= room.headSeq,
  }));
  showItems(byId('member-list'), items, createMember, updateMember);
}

function createMember() {
  return h(
    'li',
    {},
    h('span', { class: 'avatar', 'aria-hidden': 'true' }),
    h('span', { class: 'name' }),
    h('span', { class: 'role' }),
  );
}

function updateMember(element, item) {
  const [avatar, name, role] = element.children;
  setText(avatar, avatarText(item.user));
  element.style.setProperty('--hue', hue(item.user));
  setText(name, item.name);
  setText(role, [item.owner && 'owner', item.upToDate && 'read everything'].filter(Boolean).join(' · '));
}
