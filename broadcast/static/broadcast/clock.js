/**
 * The time as the other modules see it. Tests put a clock of their own in its place.
 *
 * @typedef {object} Clock
 * @property {() => number} now milliseconds
 * @property {(act: () => void, ms: number) => any} setTimeout
 * @property {(timer: any) => void} clearTimeout
 */

/** @type {Clock} */
export const browserClock = {
  now: () => Date.now(),
  setTimeout: (act, ms) => setTimeout(act, ms),
  clearTimeout: (timer) => clearTimeout(timer),
};
