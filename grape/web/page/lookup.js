/**
 * Looks a service or an item up, and shows what was found and how the lookup went.
 */

import { byId, make } from "./dom.js";
import { counted, shortTime } from "./format.js";
import { Trace } from "./trace.js";

/**
 * Returns what is wrong with a name or hash before it is asked for; "" if nothing is. Pure.
 * @param {string} kind "lookup" or "get"
 * @param {string} name
 */
export function problem(kind, name) {
  if (!name) return kind === "get" ? "Enter the hash of an item." : "Enter the name of a service.";
  return kind === "get" && !/^[0-9a-f]{40}$/i.test(name) ? "A hash has 40 hex digits, as a put answers them." : "";
}

/**
 * Returns the value of an item to be read: text as it is, anything else as JSON. Pure.
 * @param {any} value
 */
export function valueText(value) {
  return typeof value === "string" ? value : JSON.stringify(value, null, 2);
}

/** The form, the outcome and the picture. */
export class Lookup {
  /** @param {URL} base */
  constructor(base) {
    this.base = base;
    this.trace = new Trace(byId("lookup-trace"));
    this.number = 0;
    const form = byId("lookup-form");
    form.addEventListener("change", () => this.choose());
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.run();
    });
    form.noValidate = true;
    this.choose();
  }

  get kind() {
    return byId("lookup-form").elements.kind.value;
  }

  choose() {
    const isItem = this.kind === "get";
    byId("lookup-label").textContent = isItem ? "Hash of the item" : "Name of the service";
    byId("lookup-salt-field").hidden = !isItem;
  }

  async run() {
    const kind = this.kind;
    const name = byId("lookup-name").value.trim();
    const wrong = problem(kind, name);
    byId("lookup-name").toggleAttribute("aria-invalid", Boolean(wrong));
    if (wrong) {
      this.tell(wrong);
      byId("lookup-name").focus();
      return;
    }
    const number = ++this.number;
    this.tell("Looking up …");
    const told = await this.ask(kind, name);
    if (number !== this.number) return;
    if (told.problem) {
      this.tell(told.problem);
      this.trace.clear();
      return;
    }
    this.show(kind, told.trace);
  }

  async ask(kind, name) {
    const salt = kind === "get" ? byId("lookup-salt").value : "";
    const parameters = kind === "get" ? { hash: name, ...(salt ? { salt } : {}) } : { name };
    const url = new URL(`trace/${kind}`, this.base);
    url.search = String(new URLSearchParams(parameters));
    try {
      const answer = await fetch(url);
      const told = await answer.json();
      return answer.ok ? { trace: told } : { problem: `The grape answered ${answer.status}: ${told}` };
    } catch {
      return { problem: "The grape did not answer. Is it running?" };
    }
  }

  show(kind, trace) {
    const asked = `${counted(trace.steps.length, "node")} asked, ${shortTime(trace.seconds)}`;
    const whole = trace.complete ? "" : " It was stopped before the nodes closest to the key had answered.";
    if (kind === "get") {
      const version = trace.seq ? `version ${trace.seq} (seq)` : "an immutable value";
      const isFound = trace.seq !== null;
      const found = isFound ? `The item was found: ${version}.` : "No node has the item.";
      this.tell(`${found} ${asked}.${whole}`, ...(isFound ? [make("pre", {}, valueText(trace.value))] : []));
    } else if (trace.peers.length) {
      const peers = make("ul", { class: "peers", tabindex: "0", "aria-label": "Peers" });
      for (const peer of trace.peers) {
        const own = trace.own_peers.includes(peer) ? " (stored here)" : "";
        peers.append(make("li", {}, peer + own));
      }
      this.tell(`${counted(trace.peers.length, "peer")} found. ${asked}.${whole}`, peers);
    } else {
      this.tell(`No peer was found. ${asked}.${whole}`);
    }
    this.trace.show(trace);
  }

  /** Shows a text, which is read out, and what was found. */
  tell(text, ...found) {
    byId("lookup-outcome").replaceChildren(make("p", {}, text));
    byId("lookup-found").replaceChildren(...found);
  }
}
