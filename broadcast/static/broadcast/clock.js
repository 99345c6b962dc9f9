/** The time, in milliseconds, as the other modules see it. Tests put a clock of their own in its place. */
export const browserClock = {
  now: () => Date.now(),
  setTimeout: (act, ms) => setTimeout(act, ms),
  clearTimeout: (timer) => clearTimeout(timer),
};
