import { BroadcastError, TOO_LARGE, passes } from "./wire.js";

const PATIENCE_MS = 15_000;
/** How long a frame may be, in UTF-8: a daphne that meets a longer one ends the connection. */
const MOST_BYTES = 1024 * 1024;
/** How many connections in a row may end when the same message was written. */
const MOST_CUTS = 2;
const UNDELIVERABLE = "The connection ended twice when this was sent.";

/** Keeps what is sent until it is answered. One is under way at a time: none overtakes another when sent again. */
export class Outbox {
  #letters = [];
  #timer;
  /** Whether the first of them was written on this connection a moment ago, and nothing came of it yet. */
  #isFresh = false;

  constructor(send, clock) {
    Object.assign(this, { send, clock });
  }

  post(frame) {
    return new Promise((resolve, reject) => {
      // A copy: the same ref must not come with other words the second time.
      this.#letters.push({ frame: JSON.parse(written(frame)), cuts: 0, resolve, reject });
      if (this.#letters.length === 1) this.transmit();
    });
  }

  transmit() {
    this.clock.clearTimeout(this.#timer);
    const [next] = this.#letters;
    this.#isFresh = next !== undefined && this.send(next.frame);
    if (this.#isFresh) this.#transmitAfter(PATIENCE_MS);
  }

  /**
   * The connection ended, or an attempt failed; `isCut`: by the other end, or the network. What ends one after the other
   * as soon as it is written is given up. A network that goes away seldom comes back at once to go at that moment again:
   * an attempt that fails in between, and any other end, begins the count anew.
   */
  disconnect({ code, reason }, isCut) {
    const [first] = this.#letters;
    if (!first) return;
    first.cuts = isCut && this.#isFresh ? first.cuts + 1 : 0;
    if (first.cuts && code === TOO_LARGE) this.#giveUp(first, "too_large", reason || "The message is too large.");
    else if (first.cuts === MOST_CUTS) this.#giveUp(first, "undeliverable", UNDELIVERABLE);
  }

  #giveUp({ frame }, code, body) {
    this.refuse({ ref: frame.ref, code, body });
  }

  deliver(message) {
    this.#take(message.ref)?.resolve(message);
  }

  refuse({ ref, code, body, retry_after_ms }) {
    if (passes(code)) this.#wait(retry_after_ms ?? PATIENCE_MS);
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

  /** It was answered, if only to come later. */
  #wait(ms) {
    this.#isFresh = false;
    this.#transmitAfter(ms);
  }

  #transmitAfter(ms) {
    this.clock.clearTimeout(this.#timer);
    this.#timer = this.clock.setTimeout(() => this.#transmitAgain(), ms);
  }

  /** The connection has outlived what was written on it. */
  #transmitAgain() {
    const [first] = this.#letters;
    if (first) first.cuts = 0;
    this.transmit();
  }
}

function written(frame) {
  const text = JSON.stringify(frame);
  const { size } = new Blob([text]);
  if (size <= MOST_BYTES) return text;
  throw new BroadcastError("too_large", `A frame may have ${MOST_BYTES} bytes; it came with ${size}.`);
}
