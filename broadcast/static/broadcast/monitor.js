/** How long a link may stay silent after it was asked for a sign of life. */
const ANSWER_MS = 10_000;
/** A silence that nobody asked about for so long was the machine's sleep: the link is taken for dead. */
const SLEEP_MS = 120_000;

/**
 * Notices a dead link. Browsers hide the protocol's own pings from scripts, so it asks by itself when nothing
 * has come for a while. Anything that arrives counts as life: on a busy link no ping is sent or awaited.
 */
export class Monitor {
  pingMs = 25_000;
  #timer;
  #heardAt;
  #heard = false;

  /** `ping` asks the other end for a sign of life, `stale` is called when none came. */
  constructor({ ping, stale, clock }) {
    Object.assign(this, { ping, stale, clock });
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
    if (this.#silence > this.pingMs + SLEEP_MS) return this.stale();
    this.ping();
    this.start();
  }

  get #silence() {
    return this.clock.now() - this.#heardAt;
  }

  #watch() {
    if (this.#silence >= this.pingMs) this.probe();
    else this.#after(this.pingMs - this.#silence, () => this.#watch());
  }

  #after(ms, act) {
    this.stop();
    this.#timer = this.clock.setTimeout(act, ms);
  }
}
