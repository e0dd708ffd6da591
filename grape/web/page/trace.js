/**
 * Draws how a lookup went: a row for each node in the order in which they were asked, over a time axis; and a table.
 */

import { drawn, make, setAttributes } from "./dom.js";
import { counted, shortTime, trimmed } from "./format.js";

const ROW = 26;
const TOP = 34;
const LEFT = 160;
const RIGHT = 14;
/** Of the words beside the bars, which narrow screens find in the table alone. */
const WORDS_WIDTH = 340;
const NARROWEST = 320;
const WIDEST = 1240;

const ABOUT =
  "Each row is a node, in the order in which they were asked; a bar lasts from the query to the answer, " +
  "a thin line comes from the node that named it.";

const WORDS = {
  answered: "answered",
  late: "answered late",
  failed: "failed",
  silent: "no answer in the usual time",
  unawaited: "the lookup ended before",
};

/**
 * Returns what a node answered, in words. Pure.
 * @param {any} step
 */
export function outcome(step) {
  const parts = [WORDS[step.state] ?? step.state];
  if (step.answered_at !== null) parts[0] += ` in ${shortTime(step.answered_at - step.asked_at)}`;
  if (step.error) parts.push(step.error);
  if (step.peers.length) parts.push(counted(step.peers.length, "peer"));
  if (step.seq !== null) parts.push(step.seq ? `the item, seq ${step.seq}` : "the item");
  if (step.nodes) parts.push(`named ${counted(step.nodes, "node")}`);
  return parts.join(", ");
}

/**
 * Returns times for the marks of an axis: round, from 0 on, about as many as wanted. Pure.
 * @param {number} seconds
 * @param {number} [wanted]
 */
export function marks(seconds, wanted = 4) {
  const rough = Math.max(seconds, 1e-6) / Math.max(wanted, 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((times) => times * power).find((size) => size >= rough) ?? rough;
  return Array.from({ length: Math.floor(seconds / step + 1e-9) + 1 }, (_, index) => index * step);
}

/** The picture and the table of a lookup. */
export class Trace {
  /** @param {HTMLElement} parent */
  constructor(parent) {
    this.parent = parent;
  }

  clear() {
    this.parent.replaceChildren();
  }

  /** @param {any} trace the answer of /trace/lookup or /trace/get */
  show(trace) {
    if (!trace.steps.length) {
      this.parent.replaceChildren(make("p", { class: "empty" }, "No node was asked: no other node is known."));
      return;
    }
    const caption = make("figcaption", { class: "hint" }, ABOUT);
    const region = make(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": "Picture of the lookup" },
      picture(trace, this.parent.clientWidth),
    );
    const figure = make("figure", { class: "trace" }, region, caption);
    this.parent.replaceChildren(figure, table(trace));
  }
}

function picture(trace, place) {
  const width = Math.min(Math.max(place, NARROWEST), WIDEST);
  const hasWords = width >= LEFT + 2 * WORDS_WIDTH;
  const middle = width - LEFT - (hasWords ? WORDS_WIDTH : RIGHT);
  const end = Math.max(trace.seconds, ...trace.steps.map((step) => step.answered_at ?? 0), 1e-6);
  const x = (seconds) => LEFT + (Math.min(seconds, end) / end) * middle;
  const height = TOP + trace.steps.length * ROW + 6;
  const asked = `The lookup asked ${counted(trace.steps.length, "node")} in ${shortTime(trace.seconds)}.`;
  const label = `${asked} The table below has each.`;
  // Its letters are as large as those of the page, whatever the width.
  const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label });
  for (const mark of marks(end, middle / 90)) {
    svg.append(drawn("path", { class: "axis", d: `M${x(mark)} ${TOP - 6}V${height}` }));
    svg.append(drawn("text", { class: "faint", x: x(mark), y: TOP - 14, "text-anchor": "middle" }, trimmed(shortTime(mark))));
  }
  const rows = new Map(trace.steps.map((step, index) => [step.address, index]));
  const y = (index) => TOP + index * ROW + ROW / 2;
  trace.steps.forEach((step, index) => {
    const by = rows.get(step.told_by);
    if (by !== undefined) {
      const at = x(trace.steps[by].answered_at ?? step.asked_at);
      svg.append(drawn("path", { class: "named", d: `M${at} ${y(by)}V${y(index)}H${x(step.asked_at)}` }));
    }
  });
  trace.steps.forEach((step, index) => {
    svg.append(...row(step, y(index), x, end));
    const words = { class: "faint", x: LEFT + middle + 12, y: y(index) + 4 };
    if (hasWords) svg.append(drawn("text", words, short(step)));
  });
  return svg;
}

function row(step, y, x, end) {
  const from = x(step.asked_at);
  const to = x(step.answered_at ?? end);
  const shape = { class: `bar ${step.state}`, x: from, y: y - 6, width: Math.max(to - from, 3), height: 12, rx: 2 };
  const bits = step.distance === null ? "" : `, ${step.distance} bits`;
  const title = drawn("title", {}, `${step.address}${bits}: ${outcome(step)}`);
  const drawnRow = [
    drawn("text", { x: LEFT - 12, y: y + 4, "text-anchor": "end" }, step.address),
    drawn("rect", shape, title),
  ];
  if (step.asked_again_at !== null) {
    const again = drawn("path", { class: "again", d: `M${x(step.asked_again_at)} ${y - 9}V${y + 9}` });
    setAttributes(again, { "aria-hidden": "true" });
    drawnRow.push(again);
  }
  return drawnRow;
}

function short(step) {
  const text = outcome(step);
  return text.length > 52 ? `${text.slice(0, 51)}…` : text;
}

function table(trace) {
  const heads = [
    ["Asked", 1],
    ["Node", 0],
    ["Named by", 0],
    ["Distance, bits", 1],
    ["Answer", 0],
  ];
  const head = make(
    "tr",
    {},
    ...heads.map(([text, isFigure]) => make("th", { scope: "col", class: isFigure ? "figure" : null }, text)),
  );
  const body = make("tbody");
  for (const step of trace.steps) {
    const again =
      step.asked_again_at === null ? "" : `; asked again after ${shortTime(step.asked_again_at - step.asked_at)}`;
    body.append(
      make(
        "tr",
        {},
        make("td", { class: "figure" }, shortTime(step.asked_at)),
        make("th", { scope: "row" }, step.address),
        make("td", {}, step.told_by ?? "the routing table"),
        make("td", { class: "figure" }, step.distance === null ? "–" : String(step.distance)),
        make("td", {}, outcome(step) + again),
      ),
    );
  }
  const scroll = make("div", {
    class: "scroll",
    tabindex: "0",
    role: "region",
    "aria-label": "Table of the nodes asked",
  });
  scroll.append(make("table", {}, make("thead", {}, head), body));
  return make("details", {}, make("summary", {}, "The lookup as a table"), scroll);
}
