/**
 * Shows the limits that were hit, each with the flag that raises it, and the last lines of the log.
 */

import { byId, KeyedChildren, make, setText } from "./dom.js";
import { clock, number } from "./format.js";

/** The limits. */
export class Limits {
  constructor() {
    this.rows = new KeyedChildren(byId("limits-rows"), newRow, () => {});
  }

  /** @param {import("./model.js").Model} model */
  show(model) {
    const limits = model.snapshot?.limits ?? [];
    byId("limits-empty").hidden = limits.length > 0;
    byId("limits-shown").hidden = !limits.length;
    this.rows.update = (row, limit) => {
      const since = limit.count - (model.limitsBefore?.get(limit.name) ?? 0);
      setText(row.children[1], number(limit.count));
      setText(row.children[2], number(since));
      row.classList.toggle("rising", since > 0);
    };
    this.rows.show(limits, (limit) => limit.name);
  }
}

function newRow(limit) {
  const figure = () => make("td", { class: "figure" });
  const flag = make("td", {}, limit.flag ? make("code", {}, limit.flag) : "no setting");
  return make("tr", {}, make("th", { scope: "row" }, limit.text), figure(), figure(), flag);
}

/** The last lines of the log, the newest first. */
export class Log {
  constructor() {
    this.lines = new KeyedChildren(byId("log-lines"), newLine, () => {});
    this.shown = -1;
  }

  /** @param {import("./model.js").Model} model */
  show(model) {
    if (model.versions.lines === this.shown) return;
    this.shown = model.versions.lines;
    byId("log-empty").hidden = model.lines.length > 0;
    byId("log-shown").hidden = !model.lines.length;
    this.lines.show(model.lines.toReversed(), (line) => String(line.number));
  }
}

function newLine(line) {
  const at = new Date(line.time * 1000);
  const time = make("time", { datetime: at.toISOString(), title: at.toLocaleString("en-GB") }, clock(line.time * 1000));
  const level = make("span", { class: `level ${line.level}` }, line.level === "warn" ? "warning" : line.level);
  return make("li", {}, time, " ", level, " ", make("span", { class: "logger" }, line.logger), " ", line.text);
}
