import { BroadcastError } from "./error.js";
import { passes } from "./wire.js";

/** How long to wait for the answer to a message, or before trying again where the server named no time. */
const PATIENCE_MS = 15_000;

/**
 * Keeps what is to be sent until the server has answered it, across lost connections. One letter is under way at
 * a time, so none overtakes another, not even when one has to be sent again.
 */
export class Outbox {
  #letters = [];
  #timer;

  constructor(send, clock) {
    Object.assign(this, { send, clock });
  }

  /** Resolves with the message as it is in the log; rejects with why it never will be. */
  post(frame) {
    return new Promise((resolve, reject) => {
      // Its own copy: the same ref must not come with other words the second time.
      this.#letters.push({ frame: JSON.parse(JSON.stringify(frame)), resolve, reject });
      if (this.#letters.length === 1) this.transmit();
    });
  }

  /** Sends what is first in line, also if it was sent before. */
  transmit() {
    const [next] = this.#letters;
    if (next && this.send(next.frame)) this.#transmitAfter(PATIENCE_MS);
    else this.clock.clearTimeout(this.#timer);
  }

  /** A message came; it may be one of ours. */
  deliver(message) {
    this.#take(message.ref)?.resolve(message);
  }

  /** An error came about one of ours: tries again later, if that may help. */
  refuse({ ref, code, body, retry_after_ms }) {
    if (passes(code)) this.#transmitAfter(retry_after_ms ?? PATIENCE_MS);
    else this.#take(ref)?.reject(new BroadcastError(code, body));
  }

  /** Gives everything back that waits. */
  reject(code, message) {
    this.clock.clearTimeout(this.#timer);
    for (const { reject } of this.#letters.splice(0)) reject(new BroadcastError(code, message));
  }

  #take(ref) {
    const index = this.#letters.findIndex(({ frame }) => frame.ref === ref);
    if (index < 0) return;
    const [letter] = this.#letters.splice(index, 1);
    this.transmit();
    return letter;
  }

  #transmitAfter(ms) {
    this.clock.clearTimeout(this.#timer);
    this.#timer = this.clock.setTimeout(() => this.transmit(), ms);
  }
}
