/** How long to wait for a sign of life. */
const ANSWER_MS = 10_000;
/** And how long when the browser says that there is no network: true for most, but not for a server on the same machine. */
const DOUBTFUL_MS = 2_000;
/** A longer silence that nobody noticed was the machine's sleep: the link is dead. */
const SLEEP_MS = 120_000;

/** Notices a dead link. Anything that arrives counts as life: on a busy link no ping is sent or awaited. */
export class Monitor {
  pingMs = 25_000;
  #timer;
  #heardAt;
  #heardOn;
  #heard = false;

  constructor({ ping, stale, clock }) {
    Object.assign(this, { ping, stale, clock });
  }

  start() {
    this.#await(ANSWER_MS);
  }

  stop() {
    this.clock.clearTimeout(this.#timer);
  }

  alive() {
    this.#heard = true;
    this.#heardAt = this.clock.now();
    this.#heardOn = this.clock.date();
  }

  /** Asks for a sign of life, unless it was asked already. */
  probe() {
    if (!this.#heard) return;
    if (this.#silence > this.pingMs + SLEEP_MS) return this.stale();
    this.#ask(ANSWER_MS);
  }

  /** Asks for a sign of life, whether it was asked or not, and does not wait for long. */
  doubt() {
    this.#ask(DOUBTFUL_MS);
  }

  #ask(ms) {
    this.ping();
    this.#await(ms);
  }

  #await(ms) {
    this.#heard = false;
    this.#after(ms, () => (this.#heard ? this.#watch() : this.stale()));
  }

  /** While the machine sleeps, some browsers' `now` stands still; the date may have been set back. */
  get #silence() {
    return Math.max(this.clock.now() - this.#heardAt, this.clock.date() - this.#heardOn);
  }

  #watch() {
    const rest = this.pingMs - this.#silence;
    if (rest > 0) this.#after(rest, () => this.#watch());
    else this.probe();
  }

  #after(ms, act) {
    this.stop();
    this.#timer = this.clock.setTimeout(act, ms);
  }
}
