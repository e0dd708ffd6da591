/**
 * Writes numbers for people, with units. Pure.
 */

const NUMBER = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/**
 * Returns a count with separators: "1,234".
 * @param {number} count
 */
export function number(count) {
  return NUMBER.format(count);
}

/**
 * Returns a count with its noun: "1 peer", "2,000 peers".
 * @param {number} count
 * @param {string} one
 * @param {string} [many]
 */
export function counted(count, one, many = `${one}s`) {
  return `${number(count)} ${count === 1 ? one : many}`;
}

/**
 * Returns a value with two or three digits that count: "0.42", "4.2", "42", "1,234".
 * @param {number} value
 */
export function brief(value) {
  if (value === 0) return "0";
  if (value < 0.01) return "< 0.01";
  if (value < 1) return value.toFixed(2);
  return value < 9.95 ? value.toFixed(1) : number(Math.round(value));
}

/**
 * Returns a short time with its unit: "0.42 ms", "1.3 s"; "–" for none.
 * @param {number | null} seconds
 */
export function shortTime(seconds) {
  if (seconds === null || Number.isNaN(seconds)) return "–";
  return seconds < 0.9995 ? `${brief(seconds * 1000)} ms` : `${brief(seconds)} s`;
}

/**
 * Returns a text without the zeros after a decimal point that say nothing, for marks of scales: "5 ms" for "5.0 ms".
 * @param {string} text
 */
export function trimmed(text) {
  return text.replace(/\.(\d*?)0+(?=\D|$)/, (_, digits) => (digits ? `.${digits}` : ""));
}

/**
 * Returns an age or duration in its two largest units: "3 s", "2 min 5 s", "4 h 10 min", "12 d 3 h".
 * @param {number} seconds
 */
export function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const parts = [
    [Math.floor(whole / 86400), "d"],
    [Math.floor(whole / 3600) % 24, "h"],
    [Math.floor(whole / 60) % 60, "min"],
    [whole % 60, "s"],
  ];
  const first = parts.findIndex(([count]) => count > 0);
  if (first < 0) return "0 s";
  const shown = parts.slice(first, first + 2).filter(([count]) => count > 0);
  return shown.map(([count, unit]) => `${count} ${unit}`).join(" ");
}

/**
 * Returns a time of day: "14:03:07".
 * @param {number} milliseconds since 1970
 */
export function clock(milliseconds) {
  return new Date(milliseconds).toLocaleTimeString("en-GB");
}

/**
 * Returns the first characters of a node id, for narrow places.
 * @param {string} id
 */
export function shortId(id) {
  return `${id.slice(0, 8)}…`;
}

/**
 * Returns a word that may be used in a shell command.
 * @param {string} text
 */
export function quoted(text) {
  return /^[\w.:/@%+=,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
