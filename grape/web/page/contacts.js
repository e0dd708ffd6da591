/**
 * Shows the contacts: plotted by distance and round trip, and as a table.
 */

import { byId, drawn, KeyedChildren, make, setAttributes, setText } from "./dom.js";
import { counted, duration, quoted, shortId, shortTime } from "./format.js";
import { distance } from "./model.js";
import { Pager } from "./pager.js";

const NARROWEST = 300;
const WIDEST = 760;
const HEIGHT = 300;
const LEFT = 62;
const RIGHT = 14;
const TOP = 12;
const BOTTOM = 46;
const ROWS = 20;

/**
 * Returns the scales of a plot: the bits at both sides, and the powers of ten in seconds at bottom and top. Pure.
 * @param {{bits: number, roundTrip: number | null}[]} points
 */
export function scales(points) {
  let nearest = 160;
  let [low, high] = [Infinity, -Infinity];
  for (const { bits, roundTrip } of points) {
    nearest = Math.min(nearest, bits);
    if (roundTrip === null) continue;
    low = Math.min(low, roundTrip);
    high = Math.max(high, roundTrip);
  }
  const bottom = Number.isFinite(low) ? Math.floor(Math.log10(Math.max(low, 1e-5))) : -4;
  const top = Number.isFinite(high) ? Math.ceil(Math.log10(Math.max(high, 1e-5))) : -2;
  return { nearest: Math.min(Math.floor(nearest - 0.5), 156), bottom, top: Math.max(top, bottom + 1) };
}

/**
 * Returns what to do while no other node is known: a sentence, and a command for it or "". Pure.
 * @param {any} status as /status answers
 * @param {URL} base where the page is
 */
export function advice(status, base) {
  const state = status.readiness.status;
  if (state === "joining")
    return { text: "No other node is known yet: the bootstrap nodes are being asked.", command: "" };
  if (state === "isolated") {
    const text = "No bootstrap node answers. On the host of this grape a command finds the cause:";
    return { text, command: `grape doctor --url ${base.origin}` };
  }
  const [, host, port] = /^(.*):(\d+)$/.exec(status.advertised ?? status.dht_address ?? "") ?? [];
  if (!port) return { text: "No other node is known.", command: "" };
  // Bound to all addresses it has no own one before others tell it; IPv6 is not spoken between nodes.
  const isOpen = host === "0.0.0.0";
  const reached = base.hostname.startsWith("[") ? "HOST" : base.hostname;
  const node = quoted(`${isOpen ? reached : host}:${port}`);
  const isHere = /^(127\.|localhost:)/.test(node);
  const text = "No other node is known. Start a grape that joins through this one, on";
  if (!isHere) return { text: `${text} another host:`, command: `grape --bn ${node}` };
  const apiPort = /:(\d+)$/.exec(status.api_address ?? "")?.[1] ?? base.port;
  const bind = isOpen ? "" : `-b ${host} `;
  const command = `grape ${bind}--dp ${beside(port)} --aph ${beside(apiPort)} --bn ${node}`;
  return { text: `${text} this host with ports of its own:`, command };
}

function beside(port) {
  return Number(port) < 65535 ? Number(port) + 1 : 65534;
}

/** The contacts. */
export class Contacts {
  /** @param {URL} base */
  constructor(base) {
    this.base = base;
    this.grid = drawn("g", { class: "grid" });
    this.dots = drawn("g");
    this.width = NARROWEST;
    this.picture = drawn("svg", { role: "img" }, this.grid, this.dots);
    byId("contacts-plot").append(this.picture);
    new ResizeObserver(([place]) => this.resize(place.contentRect.width)).observe(byId("contacts-plot"));
    this.marks = new KeyedChildren(
      this.dots,
      () => drawn("path", {}, drawn("title")),
      (mark, point) => place(mark, point),
    );
    this.rows = new KeyedChildren(byId("contacts-rows"), newRow, (row, point) => this.fill(row, point));
    this.pager = new Pager(byId("contacts-pager"), ROWS, "contacts", () => this.showRows());
    byId("contacts-details").addEventListener("toggle", () => this.showRows());
    this.shown = -1;
    this.points = [];
    this.axes = "";
  }

  /** @param {import("./model.js").Model} model */
  show(model) {
    const status = model.snapshot?.status;
    if (!status) return;
    this.uptime = status.uptime;
    if (model.versions.contacts !== this.shown) {
      this.shown = model.versions.contacts;
      this.points = [...model.contacts.values()].map((contact) => ({
        ...contact,
        bits: distance(contact.id, status.node_id),
      }));
      this.points.sort((one, other) => one.bits - other.bits);
      this.showPlot();
    }
    byId("contacts-shown").hidden = !this.points.length;
    byId("contacts-empty").hidden = this.points.length > 0;
    if (!this.points.length) this.showEmpty(status);
    this.showRows();
  }

  resize(width) {
    const fitting = Math.round(Math.min(Math.max(width, NARROWEST), WIDEST));
    if (!width || fitting === this.width) return;
    this.width = fitting;
    this.axes = "";
    if (this.points.length) this.showPlot();
  }

  showEmpty(status) {
    const empty = byId("contacts-empty");
    const { text, command } = advice(status, this.base);
    if (empty.dataset.shown === text + command) return;
    empty.dataset.shown = text + command;
    empty.replaceChildren(make("p", {}, text), ...(command ? [make("pre", {}, command)] : []));
  }

  showPlot() {
    const { nearest, bottom, top } = scales(this.points);
    const right = this.width - RIGHT;
    const x = (bits) => LEFT + ((bits - nearest) / (160 - nearest)) * (right - LEFT);
    const y = (seconds) => {
      const power = Math.min(Math.max(Math.log10(Math.max(seconds, 1e-6)), bottom), top);
      return HEIGHT - BOTTOM - ((power - bottom) / (top - bottom)) * (HEIGHT - TOP - BOTTOM);
    };
    const axes = `${nearest} ${bottom} ${top}`;
    if (axes !== this.axes) {
      this.axes = axes;
      setAttributes(this.picture, { viewBox: `0 0 ${this.width} ${HEIGHT}` });
      this.grid.replaceChildren(...gridOf(nearest, bottom, top, right, x, y));
    }
    for (const point of this.points) {
      point.x = x(point.bits);
      point.y = point.roundTrip === null ? HEIGHT - BOTTOM : y(point.roundTrip);
    }
    this.marks.show(this.points, (point) => point.id);
    const questionable = this.points.filter((point) => !point.isGood).length;
    const told = `${counted(this.points.length, "contact")}, ${questionable || "none"} questionable`;
    setText(byId("contacts-count"), this.points.length ? told : "");
    setAttributes(this.picture, { "aria-label": `${told}, by distance and round trip. The table below has each.` });
  }

  showRows() {
    if (byId("contacts-details").open) {
      this.rows.show(this.pager.page(this.points, this.points.length), (point) => point.id);
    }
  }

  fill(row, point) {
    const [address, id, bits, roundTrip, heard, state] = row.children;
    setText(address, point.address);
    setText(id, shortId(point.id));
    setAttributes(id, { title: point.id });
    setText(bits, point.bits.toFixed(1));
    setText(roundTrip, shortTime(point.roundTrip));
    setText(heard, `${duration(this.uptime - point.heardAt)} ago`);
    setText(state, point.isGood ? "good" : "questionable");
  }
}

function newRow() {
  const figure = () => make("td", { class: "figure" });
  return make(
    "tr",
    {},
    make("th", { scope: "row" }),
    make("td", { class: "id" }),
    figure(),
    figure(),
    figure(),
    make("td"),
  );
}

function place(mark, point) {
  // A disc, or a diamond that is not filled: the state is not told by colour alone.
  const [x, y] = [point.x.toFixed(1), point.y.toFixed(1)];
  const disc = `M${x} ${y}m-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0`;
  const diamond = `M${x} ${y}m-5.500 0l5.500 -5.500l5.500 5.500l-5.500 5.500z`;
  const measured = point.roundTrip === null ? " unmeasured" : "";
  setAttributes(mark, {
    d: point.isGood ? disc : diamond,
    class: point.isGood ? `good${measured}` : "questionable",
  });
  const state = point.isGood ? "good" : "questionable";
  setText(
    mark.firstElementChild,
    `${point.address}: ${point.bits.toFixed(1)} bits, ${shortTime(point.roundTrip)}, ${state}`,
  );
}

function gridOf(nearest, bottom, top, right, x, y) {
  const lines = [];
  for (let power = bottom; power <= top; power++) {
    const at = y(10 ** power);
    lines.push(drawn("path", { d: `M${LEFT} ${at}H${right}` }));
    lines.push(drawn("text", { x: LEFT - 8, y: at + 4, "text-anchor": "end" }, scaleText(power)));
  }
  const step = Math.max(1, Math.ceil((160 - nearest) / 8));
  for (let bits = 160; bits >= nearest; bits -= step) {
    lines.push(drawn("path", { d: `M${x(bits)} ${TOP}V${HEIGHT - BOTTOM}` }));
    lines.push(drawn("text", { x: x(bits), y: HEIGHT - BOTTOM + 17, "text-anchor": "middle" }, String(bits)));
  }
  const title =
    right > 420 ? "distance, bits of the XOR of both ids; one less is half as far" : "distance, bits of the XOR";
  lines.push(drawn("text", { x: (LEFT + right) / 2, y: HEIGHT - 8, "text-anchor": "middle" }, title));
  return lines;
}

function scaleText(power) {
  return power >= 0 ? `${10 ** power} s` : power >= -3 ? `${10 ** (power + 3)} ms` : `${10 ** (power + 6)} µs`;
}
