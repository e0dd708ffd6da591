/**
 * Shows rates and round trips over the time that the page is open.
 */

import { Chart, span } from "./chart.js";
import { byId, setText } from "./dom.js";
import { brief, counted, duration, shortTime } from "./format.js";
import { mean, quantile } from "./times.js";

const perSecond = (value) => `${brief(value)} /s`;

/** How many lookups it takes for a median, and for a share of 99 %, that says something. */
const FOR_MEDIAN = 20;
const FOR_MOST = 200;

/**
 * Returns how long lookups took, as the end of a sentence. Pure.
 * @param {import("./times.js").Times} times
 */
export function lookupsText(times) {
  if (!times.count) return "none was made";
  const lookups = counted(times.count, "lookup");
  if (times.count === 1) return `1 lookup took ${shortTime(mean(times))}`;
  if (times.count < FOR_MEDIAN) return `${lookups} took ${shortTime(mean(times))} on average`;
  const [half, most] = [0.5, 0.99].map((share) => shortTime(quantile(times, share)));
  return `half of ${lookups} took up to ${half}${times.count < FOR_MOST ? "" : `, 99 % up to ${most}`}`;
}

/** The charts. */
export class Rates {
  constructor() {
    const parent = byId("charts");
    this.charts = [
      [new Chart(parent, "HTTP calls", perSecond), "calls"],
      [new Chart(parent, "Queries received", perSecond), "queriesIn"],
      [new Chart(parent, "Queries sent", perSecond), "queriesOut"],
      [new Chart(parent, "Round trip", shortTime), "roundTrip"],
      [new Chart(parent, "Lookup", shortTime), "lookup"],
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
    const told = `Each chart covers ${duration(span(last))}. Round trip: median of the contacts.`;
    const lookups = lookupsText(model.lookups());
    setText(byId("charts-span"), `${told} Lookup at other nodes: mean; since the page was opened ${lookups}.`);
  }
}
