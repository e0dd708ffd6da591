/**
 * Draws a line over one minute at first, and up to ten. The path is pure; the element is drawn with it once a second.
 */

import { drawn, setAttributes, setText } from "./dom.js";
import { trimmed } from "./format.js";
import { HISTORY_SECONDS } from "./model.js";

const WIDTH = 300;
const HEIGHT = 56;

/**
 * Returns the seconds that a chart is wide: whole minutes, so that its scale changes seldom.
 * @param {number} seconds since the page was opened
 */
export function span(seconds) {
  return Math.min(Math.max(Math.ceil(seconds / 60) * 60, 60), HISTORY_SECONDS);
}

/**
 * Returns the path of points over the last ``wide`` seconds, one for each unit of the width; gaps where there is none.
 * @param {{at: number, value: number}[]} points in the order of time
 * @param {number} highest the value at the top
 * @param {number} wide
 */
export function path(points, highest, wide) {
  if (!points.length) return "";
  const end = points[points.length - 1].at;
  let text = "";
  let column = -1;
  let isOpen = false;
  for (const { at, value } of points) {
    const x = Math.round(WIDTH - ((end - at) / wide) * WIDTH);
    if (x === column || x < 0) continue;
    column = x;
    if (Number.isNaN(value)) {
      isOpen = false;
      continue;
    }
    const y = HEIGHT - (highest > 0 ? Math.min(value / highest, 1) : 0) * (HEIGHT - 2) - 1;
    // The line to itself is a dot, where there is no other point beside it.
    text += isOpen ? `L${x} ${y.toFixed(1)}` : `M${x} ${y.toFixed(1)}h0`;
    isOpen = true;
  }
  return text;
}

/**
 * Returns a round number that is not less: 1, 2 or 5 times a power of ten.
 * @param {number} value
 */
export function roundUp(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((times) => times * power).find((top) => top >= value) ?? value;
}

/** A chart with its title, its present value and the value at its top. */
export class Chart {
  /**
   * @param {HTMLElement} parent
   * @param {string} title
   * @param {(value: number) => string} write writes a value with its unit
   */
  constructor(parent, title, write) {
    this.write = write;
    const figure = document.createElement("figure");
    figure.className = "chart";
    const caption = document.createElement("figcaption");
    this.value = document.createElement("strong");
    this.top = document.createElement("span");
    this.top.className = "top";
    const name = document.createElement("span");
    name.textContent = title;
    caption.append(name, this.value);
    this.line = drawn("path", { class: "line" });
    const box = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" };
    const picture = drawn("svg", box, drawn("path", { class: "base", d: `M0 ${HEIGHT - 0.5}H${WIDTH}` }), this.line);
    figure.append(caption, picture, this.top);
    parent.append(figure);
  }

  /**
   * Draws the points.
   * @param {{at: number, value: number}[]} points
   */
  show(points) {
    let most = 0;
    let isMeasured = false;
    for (const { value } of points) {
      if (value > most) most = value;
      isMeasured ||= !Number.isNaN(value);
    }
    const highest = roundUp(most);
    setAttributes(this.line, { d: path(points, highest, span(points.at(-1)?.at ?? 0)) });
    const last = points.at(-1);
    setText(this.value, last && !Number.isNaN(last.value) ? this.write(last.value) : "–");
    const top = isMeasured ? `up to ${trimmed(this.write(highest))}` : "none yet";
    setText(this.top, points.length ? top : "begins in a second");
  }
}
