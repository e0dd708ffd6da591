/**
 * Shows the services that are stored here. The first 1,000 are live; those beyond are asked for a page at a time.
 */

import { byId, KeyedChildren, make, setText } from "./dom.js";
import { duration, number } from "./format.js";
import { Pager } from "./pager.js";
import { Peers } from "./peers.js";

const ROWS = 15;
/** Milliseconds between the last key and a question to the grape for services beyond those that are live. */
const PAUSE = 400;

/** The services. */
export class Services {
  /** @param {URL} base */
  constructor(base) {
    this.base = base;
    this.search = byId("services-search");
    this.search.addEventListener("input", () => this.searched());
    this.rows = new KeyedChildren(
      byId("services-rows"),
      (service) => this.newRow(service),
      (row, service) => this.fill(row, service),
    );
    this.pager = new Pager(byId("services-pager"), ROWS, "services", () => this.showRows());
    this.peers = new Peers(() => this.uptime);
    this.sorted = [];
    this.found = [];
    this.shown = -1;
    this.total = 0;
    this.uptime = 0;
    /** Services beyond the live ones, by their index, with the uptime at which they were told. */
    this.beyond = new Map();
    this.timer = 0;
    const origin = `curl -d '{"data":["rest:util:net",1337]}' ${new URL("announce", base)}`;
    const text = "No service is stored here. Announce one; it is listed until it expires or is withdrawn:";
    byId("services-empty").append(make("p", {}, text), make("pre", {}, origin));
  }

  /** @param {import("./model.js").Model} model */
  show(model) {
    if (!model.snapshot) return;
    this.uptime = model.snapshot.status.uptime;
    if (model.versions.services !== this.shown) {
      this.shown = model.versions.services;
      this.sorted = model.sortedServices();
      this.total = Math.max(model.totalServices, this.sorted.length);
      this.find();
      setText(byId("services-count"), this.total ? number(this.total) : "");
      byId("services-shown").hidden = !this.total;
      byId("services-empty").hidden = this.total > 0;
    }
    this.showRows();
  }

  searched() {
    this.pager.first = 0;
    this.find();
    this.showRows();
    clearTimeout(this.timer);
    const name = this.search.value;
    if (name && this.total > this.sorted.length) this.timer = setTimeout(() => this.askFor(name), PAUSE);
  }

  find() {
    const part = this.search.value.toLowerCase();
    this.found = part ? this.sorted.filter(({ name }) => name.toLowerCase().includes(part)) : this.sorted;
  }

  showRows() {
    const isAll = !this.search.value;
    const total = isAll ? this.total : this.found.length;
    const page = this.pager.page(isAll ? this.withBeyond() : this.found, total).filter((service) => service);
    this.rows.show(page, (service) => service.key);
    const hint = this.hint(total);
    byId("services-hint").hidden = !hint;
    setText(byId("services-hint"), hint);
    if (isAll && this.pager.first + ROWS > this.sorted.length && this.total > this.sorted.length) this.askForPage();
  }

  hint(total) {
    if (this.total <= this.sorted.length)
      return this.search.value && !total ? "No service here has that in its name." : "";
    const live = number(this.sorted.length);
    if (this.search.value)
      return `Searched: the first ${live} services, and the whole name among all ${number(this.total)}.`;
    return `The first ${live} change as they come and go; the others are as they were when their page was opened.`;
  }

  withBeyond() {
    if (!this.beyond.size) return this.sorted;
    const all = [...this.sorted];
    for (const [index, service] of this.beyond) if (index >= this.sorted.length) all[index] = service;
    return all;
  }

  /** Asks for the page that is shown, after the last service that is known before it. */
  async askForPage() {
    const first = Math.max(this.pager.first, this.sorted.length);
    if (this.beyond.has(first) || this.asking) return;
    this.asking = true;
    try {
      const all = this.withBeyond();
      let index = first;
      while (index > 0 && !all[index - 1]) index--;
      const limit = Math.min(1000, first + ROWS - index);
      const rows = await this.ask({ after: all[index - 1].key, limit: String(limit) });
      for (const service of rows) this.beyond.set(index++, service);
      if (!rows.length) this.beyond.set(first, null);
      this.showRows();
    } finally {
      this.asking = false;
    }
  }

  /** Asks for one service by its whole name. */
  async askFor(name) {
    const rows = await this.ask({ name });
    if (name !== this.search.value) return;
    const known = new Set(this.found.map((service) => service.key));
    this.found.push(...rows.filter((service) => !known.has(service.key)));
    this.showRows();
  }

  async ask(parameters) {
    const url = new URL("services", this.base);
    url.search = String(new URLSearchParams(parameters));
    try {
      const answer = await fetch(url);
      const told = answer.ok ? await answer.json() : { services: [] };
      return told.services.map((service) => ({
        key: service.key,
        name: service.name,
        count: service.peer_count,
        peers: service.peers.map(({ address, age }) => ({ address, at: this.uptime - age })),
      }));
    } catch {
      // The header says that the grape is not reachable.
      return [];
    }
  }

  fill(row, service) {
    const [name, count, peer, age] = row.children;
    setText(name.firstElementChild, service.name);
    setText(count, number(service.count));
    const [newest] = service.peers;
    setText(peer, newest ? newest.address : "–");
    setText(age, newest ? `${duration(this.uptime - newest.at)} ago` : "–");
  }

  newRow(service) {
    const show = make("button", { type: "button", class: "link", "aria-controls": "services-peers" });
    show.addEventListener("click", () => this.peers.show(this.known(service), (name) => this.ask({ name }), show));
    const cells = [make("th", { scope: "row", class: "name" }, show), make("td", { class: "figure" })];
    return make("tr", {}, ...cells, make("td", { class: "addresses" }), make("td", { class: "figure" }));
  }

  /** Returns a service as it is now, if it is still live. */
  known(service) {
    return this.sorted.find((one) => one.key === service.key) ?? service;
  }
}
