import { browserClock } from "./clock.js";
import { newRef } from "./ref.js";
import { passes } from "./wire.js";

/** How long to wait for the answer to a message, or before trying again where the server named no time. */
const PATIENCE_MS = 15_000;

/**
 * @typedef {object} Letter what was handed over and is not yet known to be in the log
 * @property {string} ref by which the server knows it again, however often it is sent
 * @property {string} body
 * @property {string} [author]
 */

/**
 * Keeps what is to be sent until the server has answered it, across lost connections.
 *
 * One letter is under way at a time: the next leaves when the one before is settled, so none overtakes
 * another, not even when one has to be sent again.
 *
 * Events, each with `detail.letter` and the `detail.frame` that settled or delayed it:
 * - `delivered`: the letter is in the log
 * - `delayed`: the server is busy; the letter is sent again later
 * - `returned`: the server refused the letter for good
 */
export class Outbox extends EventTarget {
  /** @type {Letter[]} */
  #letters = [];
  #timer;

  /**
   * @param {import("./connection.js").Connection} connection
   * @param {{clock?: import("./clock.js").Clock, ref?: () => string}} [options]
   */
  constructor(connection, { clock = browserClock, ref = newRef } = {}) {
    super();
    Object.assign(this, { connection, clock, ref });
    connection.addEventListener("state", () => this.#transmit());
    connection.addEventListener("lost", () => this.#transmit());
    connection.addEventListener("acknowledged", ({ detail }) => this.#settle("delivered", detail));
    connection.addEventListener("refused", ({ detail }) => this.#refuse(detail));
  }

  /**
   * Takes a message: sends it now, or once the connection is live.
   *
   * @param {{body: string, author?: string, group?: string, data?: object}} message
   * @returns {Letter}
   */
  add(message) {
    const letter = { ref: this.ref(), ...message };
    this.#letters.push(letter);
    if (this.#letters.length === 1) this.#transmit();
    return letter;
  }

  /** Whether the message with this `ref` was handed over here and is not settled. @param {string} ref */
  has(ref) {
    return this.#letters.some((letter) => letter.ref === ref);
  }

  #transmit() {
    this.clock.clearTimeout(this.#timer);
    const [next] = this.#letters;
    if (next && this.connection.send(next)) this.#transmitAfter(PATIENCE_MS);
  }

  #transmitAfter(ms) {
    this.clock.clearTimeout(this.#timer);
    this.#timer = this.clock.setTimeout(() => this.#transmit(), ms);
  }

  #settle(outcome, frame) {
    const index = this.#letters.findIndex((letter) => letter.ref === frame.ref);
    if (index < 0) return;
    const [letter] = this.#letters.splice(index, 1);
    this.#tell(outcome, letter, frame);
    this.#transmit();
  }

  #refuse(frame) {
    if (!passes(frame.code)) return this.#settle("returned", frame);
    const letter = this.#letters.find(({ ref }) => ref === frame.ref);
    if (!letter) return;
    this.#tell("delayed", letter, frame);
    this.#transmitAfter(frame.retry_after_ms ?? PATIENCE_MS);
  }

  #tell(event, letter, frame) {
    this.dispatchEvent(new CustomEvent(event, { detail: { letter, frame } }));
  }
}
