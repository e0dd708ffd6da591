/**
 * Shows the peers of one service, as they were when its name was chosen.
 */

import { byId, make } from "./dom.js";
import { clock, counted, duration, number } from "./format.js";

/** The peers of one service. */
export class Peers {
  /** @param {() => number} uptime returns how long the grape runs now, in seconds */
  constructor(uptime) {
    this.uptime = uptime;
    this.place = byId("services-peers");
    this.chosen = "";
  }

  /**
   * Shows the peers of a service: those that are known, and then all that the grape lists.
   * @param {import("./model.js").Service} service
   * @param {(name: string) => Promise<import("./model.js").Service[]>} ask
   */
  async show(service, ask) {
    this.chosen = service.key;
    this.fill(service);
    if (service.count <= service.peers.length) return;
    const found = (await ask(service.name)).find((one) => one.key === service.key);
    if (found && this.chosen === service.key) this.fill(found);
  }

  fill(service) {
    const list = make("ul", { class: "peers", tabindex: "0", "aria-label": "Peers" });
    for (const { address, at } of service.peers) {
      list.append(make("li", {}, address, " ", make("small", {}, `${duration(this.uptime() - at)} ago`)));
    }
    const close = make("button", { type: "button", class: "link" }, "Close");
    close.addEventListener("click", () => this.close());
    const more = service.count - service.peers.length;
    const note = more > 0 ? `, the ${number(service.peers.length)} newest of them` : "";
    const text = `${counted(service.count, "peer")}${note}, as of ${clock(Date.now())}. `;
    this.place.replaceChildren(make("h3", {}, service.name), make("p", { class: "hint" }, text, close), list);
    this.place.hidden = false;
  }

  close() {
    this.chosen = "";
    this.place.hidden = true;
  }
}
