import { browserClock } from "./clock.js";

/** How long a link may stay silent after it was asked for a sign of life. */
const ANSWER_MS = 10_000;

/**
 * Notices a dead link. Browsers hide the protocol's own pings from scripts, so it asks by itself when nothing
 * has come for a while. Anything that arrives counts as life: on a busy link no ping is sent or awaited.
 */
export class Monitor {
  #timer;
  #heardAt = 0;
  #heard = false;

  /**
   * @param {object} options
   * @param {() => void} options.ping asks the other end for a sign of life
   * @param {() => void} options.stale is called when none came
   * @param {number} [options.pingMs] the silence after which to ask
   * @param {import("./clock.js").Clock} [options.clock]
   */
  constructor({ ping, stale, pingMs = 25_000, clock = browserClock }) {
    Object.assign(this, { ping, stale, pingMs, clock });
  }

  /** A link is being made: it has to show a first sign of life. */
  start() {
    this.#heard = false;
    this.#after(ANSWER_MS, () => (this.#heard ? this.#watch() : this.stale()));
  }

  stop() {
    this.clock.clearTimeout(this.#timer);
  }

  /** Something came in. */
  alive() {
    this.#heard = true;
    this.#heardAt = this.clock.now();
  }

  /** Asks now whether the link still lives, unless it was asked and has not answered yet. */
  probe() {
    if (!this.#heard) return;
    this.ping();
    this.start();
  }

  #watch() {
    const silence = this.clock.now() - this.#heardAt;
    if (silence >= this.pingMs) this.probe();
    else this.#after(this.pingMs - silence, () => this.#watch());
  }

  #after(ms, act) {
    this.stop();
    this.#timer = this.clock.setTimeout(act, ms);
  }
}
