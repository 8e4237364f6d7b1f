// The few ways in which this page touches the document. Texts go in as text, never as markup.

const SVG = 'http://www.w3.org/2000/svg';

/** The element with that id. */
export function byId(id) {
  return document.getElementById(id);
}

/** A new element: `h('button', { class: 'icon', onclick }, 'text', child)`. Handlers by property, the rest as attributes. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === 'function') element[name] = value;
    else if (value !== undefined && value !== false) element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children);
  return element;
}

/** One of the symbols in index.html. */
export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  const use = document.createElementNS(SVG, 'use');
  use.setAttribute('href', `#${name}`);
  svg.setAttribute('aria-hidden', 'true');
  svg.append(use);
  return svg;
}

/** Sets a text only where it differs, so that screen readers are not told again what they know. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function setHidden(element, hidden) {
  if (element.hidden !== hidden) element.hidden = hidden;
}

/**
 * Makes the children of `parent` show `items`, each known by its `key`. Elements stay where they are while
 * their item stays, so focus, selection and scroll position survive.
 *
 * @param {(item) => Element} create an element for an item
 * @param {(element, item) => void} update writes an item into its element; only called when it has changed
 */
export function showItems(parent, items, create, update) {
  const known = new Map([...parent.children].map((element) => [element.itemKey, element]));
  let place = parent.firstElementChild;
  for (const item of items) {
    let element = known.get(item.key);
    if (!element) {
      element = create(item);
      element.itemKey = item.key;
    }
    known.delete(item.key);
    const version = JSON.stringify(item);
    if (element.itemVersion !== version) {
      update(element, item);
      element.itemVersion = version;
    }
    if (element === place) place = place.nextElementSibling;
    else parent.insertBefore(element, place);
  }
  for (const element of known.values()) element.remove();
}
