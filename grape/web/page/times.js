/**
 * Compares histograms of measured times: how many were up to each of some bounds, in seconds. Pure.
 *
 * @typedef {{count: number, sum: number, bounds: number[], cumulative: number[]}} Times
 */

/**
 * Returns the times that came after a histogram was taken; all of them if there is none.
 * @param {Times} now
 * @param {Times | null} before
 * @returns {Times}
 */
export function since(now, before) {
  if (!before) return now;
  return {
    count: now.count - before.count,
    sum: now.sum - before.sum,
    bounds: now.bounds,
    cumulative: now.cumulative.map((number, index) => number - before.cumulative[index]),
  };
}

/**
 * Returns the mean in seconds; NaN if there are no times.
 * @param {Times} times
 */
export function mean(times) {
  return times.count > 0 ? times.sum / times.count : NaN;
}

/**
 * Returns about the time in seconds that a share of all does not exceed: within the bounds around it the times are taken
 * for even. NaN if there are none; the last bound if it is beyond.
 * @param {Times} times
 * @param {number} share 0 to 1
 */
export function quantile(times, share) {
  if (!(times.count > 0)) return NaN;
  const wanted = share * times.count;
  const at = times.cumulative.findIndex((number) => number >= wanted);
  if (at < 0) return times.bounds.at(-1);
  const [low, less] = at ? [times.bounds[at - 1], times.cumulative[at - 1]] : [0, 0];
  const within = times.cumulative[at] - less;
  return within ? low + ((times.bounds[at] - low) * (wanted - less)) / within : low;
}
