/**
 * How long to wait before the next attempt: anything up to a ceiling that doubles with each attempt, so that
 * many clients that lost the same server do not return at the same moment.
 */
export class Backoff {
  #attempts = 0;

  /** @param {{firstMs?: number, capMs?: number, random?: () => number}} [options] */
  constructor({ firstMs = 500, capMs = 30_000, random = Math.random } = {}) {
    this.firstMs = firstMs;
    this.capMs = capMs;
    this.random = random;
  }

  /** @returns {number} milliseconds */
  next() {
    const ceiling = Math.min(this.capMs, this.firstMs * 2 ** this.#attempts);
    this.#attempts += 1;
    return this.random() * ceiling;
  }

  reset() {
    this.#attempts = 0;
  }
}
