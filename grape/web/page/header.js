/**
 * Shows in one glance how the grape is, and why; where it is and for how long it runs.
 */

import { byId, KeyedChildren, make, setText } from "./dom.js";
import { clock, counted, duration, number, shortTime } from "./format.js";
import { medianRoundTrip } from "./model.js";

const RESTART_SHOWN = 60000;

/**
 * Returns the state as a name for styles, a word and a sentence. Pure.
 * @param {import("./model.js").Model} model
 */
export function verdict(model) {
  const status = model.snapshot?.status;
  if (!model.isConnected) return unreachable(model);
  const { good, questionable } = status.contacts;
  const contacts = counted(good + questionable, "contact");
  switch (status.readiness.status) {
    case "ready":
      return good + questionable
        ? ["well", "Well", `It has joined: ${contacts}.`]
        : ["alone", "Alone", "It runs; no other node has joined it yet."];
    case "joining":
      return ["joining", "Joining", "It asks its bootstrap nodes for the first time."];
    case "isolated":
      return isolated(status.readiness.is_ready);
    case "degraded":
      return ["degraded", "Degraded", "Lookups and announces are served; puts are refused."];
    case "stopping":
      return ["stopping", "Stopping", "It was told to stop, and takes no new work."];
    default:
      return ["degraded", status.readiness.status, ""];
  }
}

function isolated(isReady) {
  const text = "No other node answers: what is announced elsewhere is not found here.";
  if (!isReady) return ["bad", "Isolated", `${text} On its host, grape doctor finds the cause.`];
  return ["degraded", "Isolated", `${text} It serves all the same, as --ready-isolated says.`];
}

function unreachable(model) {
  if (!model.lostAt) return ["waiting", "Connecting", "Waiting for the grape to answer."];
  const since = `since ${clock(model.lostAt)}`;
  const again = "This page tries again every few seconds.";
  if (model.reason.includes("ERR_GRAPE_STREAMS")) {
    return ["degraded", "Too many pages", `The grape shows itself to 16 pages at most. ${again}`];
  }
  if (model.reason === "connections") {
    return ["degraded", "Disconnected", `The grape needed the connection for others ${since}. ${again}`];
  }
  if (model.reason === "stopping")
    return ["bad", "Stopped", `The grape was stopped at ${clock(model.lostAt)}. ${again}`];
  if (model.reason === "fault")
    return ["bad", "Disconnected", `A fault of the grape ended the live events ${since}: its log says which. ${again}`];
  const why = model.reason ? ` It answered: ${model.reason}` : "";
  return ["bad", "Not reachable", `No answer ${since}. ${again}${why}`];
}

/** The header, and the figures of this moment. */
export class Header {
  constructor() {
    this.state = byId("state");
    this.problems = new KeyedChildren(
      byId("problems"),
      () => make("li"),
      (element, check) => setText(element, check.text),
    );
    this.facts = new Pairs(byId("facts"));
    this.tiles = new Pairs(byId("tiles"));
  }

  /** @param {import("./model.js").Model} model */
  show(model) {
    const [state, word, text] = verdict(model);
    if (this.state.dataset.state !== state) this.state.dataset.state = state;
    setText(byId("state-word"), word);
    setText(byId("state-text"), text);
    const status = model.snapshot?.status;
    const bad = status && model.isConnected ? status.readiness.checks.filter((check) => check.state !== "ok") : [];
    byId("problems").hidden = !bad.length;
    this.problems.show(bad, (check) => check.name);
    this.showRestart(model);
    if (!status) return;
    document.body.classList.toggle("stale", !model.isConnected);
    const address = status.advertised ?? status.dht_address ?? "";
    setText(byId("state-address"), address);
    const title = `${word}: Grape ${address}`;
    if (document.title !== title) document.title = title;
    this.facts.show(facts(status));
    this.tiles.show(tiles(model, status));
  }

  showRestart(model) {
    const isRecent = model.restartedAt > 0 && model.isConnected && Date.now() - model.restartedAt < RESTART_SHOWN;
    byId("notice").hidden = !isRecent;
    if (isRecent)
      setText(byId("notice"), `The grape was restarted: it answers again since ${clock(model.restartedAt)}.`);
  }
}

function facts(status) {
  const { connections, bootstrap } = status;
  const { file, last_commit: last, problem } = status.state ?? {};
  const kept = last === null || last === undefined ? "" : `, written ${duration(last)} ago`;
  return [
    ["Version", status.version],
    ["Running for", duration(status.uptime)],
    ["DHT (UDP)", status.dht_address ?? "closed"],
    ["HTTP API", status.api_address ?? "none of its own"],
    ["Known to others as", status.advertised ?? "not known yet"],
    ["HTTP connections", connections ? `${number(connections.open)} of ${number(connections.limit)}` : "–"],
    ["Joins through", bootstrap.length ? bootstrap.join(", ") : "nobody: it was given no nodes"],
    ["Node id", status.node_id],
    ["State", file ? `${file}${problem ? `: ${problem}` : kept}` : "none is kept: a restart forgets everything"],
  ];
}

function tiles(model, status) {
  const { good, questionable } = status.contacts;
  return [
    ["Contacts", number(good + questionable), contactsNote(good, questionable)],
    ["Round trip", shortTime(medianRoundTrip(model.contacts.values())), "median of the contacts"],
    ["Services", number(status.services), "stored here"],
    ["Items", number(status.items), "stored here"],
    ["Queries", number(status.queries_in_flight), "waiting for an answer"],
  ];
}

function contactsNote(good, questionable) {
  if (questionable) return `${number(questionable)} questionable`;
  return good ? "all good" : "none yet";
}

/** A description list whose names stay and whose values change. */
class Pairs {
  constructor(list) {
    this.list = list;
    this.values = new Map();
  }

  show(pairs) {
    for (const [name, value, note] of pairs) {
      if (!this.values.has(name)) this.add(name, note);
      const shown = this.values.get(name);
      setText(shown.value, value);
      if (note) setText(shown.note, note);
    }
  }

  add(name, note) {
    const value = make("span", { class: name === "Node id" ? "id" : "value" });
    const small = make("small");
    this.list.append(
      make("div", {}, make("dt", {}, name), note ? make("dd", {}, value, small) : make("dd", {}, value)),
    );
    this.values.set(name, { value, note: small });
  }
}
