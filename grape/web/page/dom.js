/**
 * Makes and changes elements. Text is always set as text, never as HTML: names of services come from strangers.
 */

const SVG = "http://www.w3.org/2000/svg";

/**
 * Returns the element with an id, which the page has.
 * @param {string} id
 * @returns {any}
 */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`no element ${id}`);
  return found;
}

/**
 * Sets the text of an element, if it differs.
 * @param {Element} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Sets attributes that differ; null takes one away.
 * @param {Element} element
 * @param {Record<string, string | number | null>} attributes
 */
export function setAttributes(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null) element.removeAttribute(name);
    else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, String(value));
  }
}

/**
 * Makes an element with attributes and children, which are elements or texts.
 * @param {string} tag
 * @param {Record<string, string | number | null>} [attributes]
 * @param {...(Node | string)} children
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  setAttributes(element, attributes);
  element.append(...children);
  return element;
}

/**
 * Makes an element of SVG.
 * @param {string} tag
 * @param {Record<string, string | number | null>} [attributes]
 * @param {...(Node | string)} children
 */
export function drawn(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  setAttributes(element, attributes);
  element.append(...children);
  return element;
}

/** Keeps the children of an element in step with a list: only those that differ are made, moved or removed. */
export class KeyedChildren {
  /**
   * @param {Element} parent
   * @param {(item: any) => Element} create
   * @param {(element: any, item: any) => void} update
   */
  constructor(parent, create, update) {
    this.parent = parent;
    this.create = create;
    this.update = update;
    /** @type {Map<string, Element>} */
    this.elements = new Map();
  }

  /**
   * Shows items, each with a key of its own.
   * @param {Iterable<any>} items
   * @param {(item: any) => string} keyOf
   */
  show(items, keyOf) {
    const shown = new Map();
    for (const item of items) {
      const element = this.elements.get(keyOf(item)) ?? this.create(item);
      this.update(element, item);
      shown.set(keyOf(item), element);
    }
    // First, as all that follows one that is gone would be moved.
    for (const [key, element] of this.elements) if (!shown.has(key)) element.remove();
    let next = this.parent.firstElementChild;
    for (const element of shown.values()) {
      if (element === next) next = next.nextElementSibling;
      else this.parent.insertBefore(element, next);
    }
    this.elements = shown;
  }
}
