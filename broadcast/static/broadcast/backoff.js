/** Waits up to a ceiling that doubles each time, so that clients that lost the same server return one by one. */
export class Backoff {
  #attempts = 0;

  constructor({ firstMs = 500, capMs = 30_000, random = Math.random } = {}) {
    Object.assign(this, { firstMs, capMs, random });
  }

  /** @returns {number} milliseconds */
  next() {
    return this.random() * Math.min(this.capMs, this.firstMs * 2 ** this.#attempts++);
  }

  reset() {
    this.#attempts = 0;
  }
}
