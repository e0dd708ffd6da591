/**
 * Shows rates and round trips over the time that the page is open.
 */

import { Chart, span } from "./chart.js";
import { byId, setText } from "./dom.js";
import { brief, duration, shortTime } from "./format.js";

const perSecond = (value) => `${brief(value)} /s`;

/** The charts. */
export class Rates {
  constructor() {
    const parent = byId("charts");
    this.charts = [
      [new Chart(parent, "HTTP calls", perSecond), "calls"],
      [new Chart(parent, "Queries received", perSecond), "queriesIn"],
      [new Chart(parent, "Queries sent", perSecond), "queriesOut"],
      [new Chart(parent, "Round trip", shortTime), "roundTrip"],
    ];
    this.shown = -1;
  }

  /** @param {import("./model.js").Model} model */
  show(model) {
    const last = model.samples.at(-1)?.at ?? 0;
    if (last === this.shown) return;
    this.shown = last;
    for (const [chart, name] of this.charts) {
      chart.show(model.samples.map((sample) => ({ at: sample.at, value: sample[name] })));
    }
    const wide = duration(span(last));
    setText(
      byId("charts-span"),
      `Each chart is ${wide} wide, since this page was opened. Round trip: median of the contacts.`,
    );
  }
}
