/**
 * Keeps what the grape has told since the page was opened: lists, counts over time, and whether it is reachable. Pure.
 *
 * @typedef {{id: string, address: string, roundTrip: number | null, heardAt: number, isGood: boolean}} Contact
 * @typedef {{key: string, name: string, count: number, peers: {address: string, at: number}[]}} Service
 * @typedef {{number: number, time: number, level: string, logger: string, text: string}} Line
 * @typedef {{at: number, calls: number, queriesIn: number, queriesOut: number, roundTrip: number, lookup: number}} Sample
 */

import { mean, since } from "./times.js";

/** Seconds of history that are kept, one sample each. */
export const HISTORY_SECONDS = 600;
const MAX_LINES = 50;

/** What the grape has told. */
export class Model {
  constructor() {
    /** The last snapshot; null before the first one. */
    this.snapshot = null;
    /** @type {Map<string, Contact>} */
    this.contacts = new Map();
    /** @type {Map<string, Service>} */
    this.services = new Map();
    /** The number of all services, of which the first 1,000 are followed. */
    this.totalServices = 0;
    /** @type {Sample[]} */
    this.samples = [];
    /** @type {Line[]} */
    this.lines = [];
    /** True while events come. */
    this.isConnected = false;
    /** Why the connection ended or was refused; "" if that is not known. */
    this.reason = "";
    /** When the connection was lost, in milliseconds since 1970. */
    this.lostAt = 0;
    /** When the grape was last seen to have restarted; 0: never. */
    this.restartedAt = 0;
    /** Grow with each change of a list, so that views know whether to draw. */
    this.versions = { contacts: 0, services: 0, lines: 0 };
    /** The counts of limits at the first snapshot since the grape's start. */
    this.limitsBefore = null;
    /** How long lookups had taken at the first snapshot since the grape's start; null after a start that was seen. */
    this.lookupsBefore = null;
    this.counts = null;
  }

  /**
   * Takes an event.
   * @param {string} name
   * @param {any} value
   * @param {number} now milliseconds since 1970
   */
  take(name, value, now) {
    if (name === "snapshot") this.takeSnapshot(value, now);
    else if (name === "nodes") this.takeNodes(value);
    else if (name === "services") this.takeServices(value);
    else if (name === "log") this.takeLines(value.lines);
    else if (name === "end") this.reason = value.reason;
  }

  /** Notes that the connection is lost, and perhaps why. */
  lose(reason, now) {
    if (this.isConnected || !this.lostAt) this.lostAt = now;
    this.isConnected = false;
    if (reason) this.reason = reason;
  }

  takeSnapshot(snapshot, now) {
    const uptime = snapshot.status.uptime;
    if (this.snapshot && snapshot.start !== this.snapshot.start) this.forget(now);
    this.isConnected = true;
    this.reason = "";
    this.lostAt = 0;
    if (!this.snapshot) this.lookupsBefore = snapshot.lookup_times;
    this.snapshot = snapshot;
    this.limitsBefore ??= new Map(snapshot.limits.map((limit) => [limit.name, limit.count]));
    this.addSample(uptime, snapshot.counts, snapshot.lookup_times);
  }

  /** Forgets what was true of the grape before it was started again. */
  forget(now) {
    this.restartedAt = now;
    this.counts = null;
    this.limitsBefore = new Map();
    this.lookupsBefore = null;
    this.lines = [];
    this.versions.lines++;
  }

  addSample(uptime, counts, lookupTimes) {
    const last = this.counts;
    this.counts = { ...counts, at: uptime, lookupTimes };
    const seconds = last ? uptime - last.at : 0;
    if (seconds <= 0) return;
    const previous = this.samples.at(-1);
    const at = previous ? previous.at + seconds : 0;
    this.samples.push({
      at,
      calls: (counts.calls - last.calls) / seconds,
      queriesIn: (counts.queries_in - last.queries_in) / seconds,
      queriesOut: (counts.queries_out - last.queries_out) / seconds,
      roundTrip: medianRoundTrip(this.contacts.values()),
      lookup: mean(since(lookupTimes, last.lookupTimes)),
    });
    while (this.samples[0].at < at - HISTORY_SECONDS) this.samples.shift();
  }

  /** How long the lookups took that were made since the page was opened. */
  lookups() {
    return since(this.snapshot.lookup_times, this.lookupsBefore);
  }

  takeNodes({ is_whole: isWhole, rows, gone }) {
    if (isWhole) this.contacts.clear();
    for (const [id, address, roundTrip, heardAt, isGood] of rows) {
      this.contacts.set(id, { id, address, roundTrip, heardAt, isGood });
    }
    for (const id of gone) this.contacts.delete(id);
    this.versions.contacts++;
  }

  takeServices({ is_whole: isWhole, rows, gone, total }) {
    if (isWhole) this.services.clear();
    for (const [key, name, count, peers] of rows) this.services.set(key, service(key, name, count, peers));
    for (const key of gone) this.services.delete(key);
    this.totalServices = total;
    this.versions.services++;
  }

  takeLines(lines) {
    const last = this.lines.at(-1)?.number ?? 0;
    for (const [number, time, level, logger, text] of lines) {
      if (number > last) this.lines.push({ number, time, level, logger, text });
    }
    this.lines.splice(0, this.lines.length - MAX_LINES);
    this.versions.lines++;
  }

  /** The services that are followed, in the order of their keys. */
  sortedServices() {
    return [...this.services.values()].sort((one, other) => (one.key < other.key ? -1 : 1));
  }
}

function service(key, name, count, peers) {
  return { key, name, count, peers: peers.map(([address, at]) => ({ address, at })) };
}

/**
 * Returns the median of the round trips that were measured; NaN if there are none.
 * @param {Iterable<Contact>} contacts
 */
export function medianRoundTrip(contacts) {
  const times = [];
  for (const { roundTrip } of contacts) if (roundTrip !== null) times.push(roundTrip);
  times.sort((one, other) => one - other);
  return times.length ? times[Math.floor(times.length / 2)] : NaN;
}

/**
 * Returns the distance of two ids as the base-2 logarithm of their XOR: 160 is as far as it can be, 0 the next one.
 * @param {string} id 40 hex digits
 * @param {string} other
 */
export function distance(id, other) {
  for (let at = 0; at < 40; at++) {
    const bits = parseInt(id[at], 16) ^ parseInt(other[at], 16);
    if (bits) {
      const next = at + 1 < 40 ? parseInt(id[at + 1], 16) ^ parseInt(other[at + 1], 16) : 0;
      return Math.log2(bits + next / 16) + 4 * (39 - at);
    }
  }
  return 0;
}
