/**
 * Shows the peers of one service, as they were when its name was chosen.
 */

import { byId, make, setText } from "./dom.js";
import { clock, counted, duration, number } from "./format.js";

/** The peers of one service. */
export class Peers {
  /** @param {() => number} uptime returns how long the grape runs now, in seconds */
  constructor(uptime) {
    this.uptime = uptime;
    this.place = byId("services-peers");
    this.name = make("h3");
    // Its text alone is read out, not a list of up to 1,000 peers.
    this.about = make("span", { role: "status" });
    this.list = make("ul", { class: "peers", tabindex: "0", "aria-label": "Peers" });
    const close = make("button", { type: "button", class: "link" }, "Close");
    close.addEventListener("click", () => this.close());
    this.place.append(this.name, make("p", { class: "hint" }, this.about, " ", close), this.list);
    this.chosen = "";
    this.opener = null;
  }

  /**
   * Shows the peers of a service: those that are known, and then all that the grape lists.
   * @param {import("./model.js").Service} service
   * @param {(name: string) => Promise<import("./model.js").Service[]>} ask
   * @param {HTMLElement} opener gets the focus back
   */
  async show(service, ask, opener) {
    this.chosen = service.key;
    this.opener = opener;
    this.fill(service);
    if (service.count <= service.peers.length) return;
    const found = (await ask(service.name)).find((one) => one.key === service.key);
    if (found && this.chosen === service.key) this.fill(found);
  }

  fill(service) {
    this.place.hidden = false;
    const more = service.count - service.peers.length;
    const note = more > 0 ? `, the ${number(service.peers.length)} newest of them` : "";
    setText(this.name, service.name);
    setText(this.about, `${counted(service.count, "peer")}${note}, as of ${clock(Date.now())}.`);
    const line = ({ address, at }) =>
      make("li", {}, address, " ", make("small", {}, `${duration(this.uptime() - at)} ago`));
    this.list.replaceChildren(...service.peers.map(line));
  }

  close() {
    this.chosen = "";
    this.place.hidden = true;
    // The row may have gone meanwhile, or be on another page.
    (this.opener?.isConnected ? this.opener : byId("services-search")).focus();
  }
}
