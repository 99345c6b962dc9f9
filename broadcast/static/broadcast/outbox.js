import { BroadcastError, passes } from "./wire.js";

const PATIENCE_MS = 15_000;

/** Keeps what is sent until it is answered. One is under way at a time: none overtakes another when sent again. */
export class Outbox {
  #letters = [];
  #timer;

  constructor(send, clock) {
    Object.assign(this, { send, clock });
  }

  post(frame) {
    return new Promise((resolve, reject) => {
      // A copy: the same ref must not come with other words the second time.
      this.#letters.push({ frame: JSON.parse(JSON.stringify(frame)), resolve, reject });
      if (this.#letters.length === 1) this.transmit();
    });
  }

  transmit() {
    this.clock.clearTimeout(this.#timer);
    const [next] = this.#letters;
    if (next && this.send(next.frame)) this.#transmitAfter(PATIENCE_MS);
  }

  deliver(message) {
    this.#take(message.ref)?.resolve(message);
  }

  refuse({ ref, code, body, retry_after_ms }) {
    if (passes(code)) this.#transmitAfter(retry_after_ms ?? PATIENCE_MS);
    else this.#take(this.#meant(ref, code))?.reject(new BroadcastError(code, body));
  }

  reject(code, message) {
    for (const { reject } of this.#letters.splice(0)) reject(new BroadcastError(code, message));
    this.transmit();
  }

  /** What is too large is refused unread, and without its ref: it is what was under way. */
  #meant(ref, code) {
    return ref ?? (code === "too_large" ? this.#letters[0]?.frame.ref : undefined);
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
