/**
 * Follows the grape's events and shows what has changed, at most once a frame and not while the page is hidden.
 */

import { Contacts } from "./contacts.js";
import { Header } from "./header.js";
import { Limits, Log } from "./limits.js";
import { Lookup } from "./lookup.js";
import { Model } from "./model.js";
import { Rates } from "./rates.js";
import { Services } from "./services.js";
import { follow } from "./stream.js";

const base = new URL(".", location.href);
const model = new Model();
const views = [new Header(), new Rates(), new Contacts(base), new Services(base), new Limits(), new Log()];
new Lookup(base);

let isDue = false;

function draw() {
  isDue = false;
  for (const view of views) view.show(model);
}

function drawSoon() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(draw);
}

follow(
  new URL("events", base),
  (name, value) => {
    model.take(name, value, Date.now());
    drawSoon();
  },
  (reason) => {
    model.lose(reason, Date.now());
    drawSoon();
  },
);
