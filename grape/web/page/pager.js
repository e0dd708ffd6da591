/**
 * Shows a long list a page at a time: few rows are quick to change and to read, and all are reached by keyboard.
 */

import { make, setAttributes, setText } from "./dom.js";
import { number } from "./format.js";

/**
 * Returns the first index of the page that is shown: within the list, also after it has become shorter. Pure.
 * @param {number} first
 * @param {number} size
 * @param {number} total
 */
export function within(first, size, total) {
  return total ? Math.min(first, Math.floor((total - 1) / size) * size) : 0;
}

/** Buttons to turn pages, and where one is. */
export class Pager {
  /**
   * @param {HTMLElement} parent
   * @param {number} size rows of a page
   * @param {string} noun what the rows are
   * @param {() => void} turned called when another page is to be shown
   */
  constructor(parent, size, noun, turned) {
    this.size = size;
    this.noun = noun;
    this.first = 0;
    this.parent = parent;
    const button = (text, pages) => {
      const made = make("button", { type: "button" }, text);
      made.addEventListener("click", () => {
        if (made.getAttribute("aria-disabled") === "true") return;
        this.first = Math.max(0, this.first + pages * size);
        turned();
      });
      return made;
    };
    this.before = button("Previous", -1);
    this.after = button("Next", 1);
    this.where = make("span", { class: "where" });
    parent.append(this.before, this.where, this.after);
  }

  /**
   * Returns the items of the page, and shows where it is in a list of ``total``.
   * @template T
   * @param {T[]} items
   * @param {number} total
   * @returns {T[]}
   */
  page(items, total) {
    this.first = within(this.first, this.size, total);
    const last = Math.min(this.first + this.size, total);
    setText(this.where, total ? `${number(this.first + 1)} to ${number(last)} of ${number(total)} ${this.noun}` : "");
    // Not disabled, which would take the focus away from who turns to the last page by keyboard.
    setAttributes(this.before, { "aria-disabled": String(this.first === 0) });
    setAttributes(this.after, { "aria-disabled": String(last >= total) });
    this.parent.hidden = total <= this.size;
    return items.slice(this.first, last);
  }
}
