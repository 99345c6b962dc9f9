import { canonical, newRef } from "./browser.js";
import { BroadcastError } from "./error.js";
import { TOO_LARGE, passes } from "./wire.js";

const PATIENCE_MS = 15_000;
/** How long a frame may be, in UTF-8: a daphne that meets a longer one ends the connection. */
const MOST_BYTES = 1024 * 1024;
/** How many connections in a row may end when the same message was written. */
const MOST_CUTS = 2;
/** Longer than this no timer waits: it would be up at once. */
const LONGEST_MS = 2 ** 31 - 1;
const UNDELIVERABLE = "The connection ended twice when this was sent.";

/** Keeps what is sent until it is answered. One is under way at a time: none overtakes another when sent again. */
export class Outbox {
  #letters = [];
  #timer;
  /** Whether the first of them was written on this connection a moment ago, and nothing came of it yet. */
  #isFresh = false;
  /** What was written on this connection, withdrawn, and not answered yet: their refs, in order. */
  #strays = new Set();

  constructor(send, clock) {
    Object.assign(this, { send, clock });
  }

  post(group, body, { author, data, ref = newRef(), signal, timeout } = {}) {
    const frame = { group, body, author, data, ref: canonical(ref) };
    let release;
    const answered = new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      // A copy: the same ref must not come with other words the second time.
      const letter = { frame: JSON.parse(written(frame)), cuts: 0, resolve, reject };
      this.#letters.push(letter);
      release = this.#limit(letter, signal, timeout ?? Infinity);
      if (this.#letters.length === 1) this.transmit();
    });
    return release ? answered.finally(release) : answered;
  }

  /** Has a letter withdrawn when its signal says so, or its time is over. Returns what ends that, if there is a limit. */
  #limit(letter, signal, timeout) {
    if (!signal && timeout > LONGEST_MS) return undefined;
    const abort = () => this.#withdraw(letter, signal.reason);
    const expire = () => this.#withdraw(letter, new BroadcastError("timeout", `It was not answered within ${timeout} ms.`));
    const timer = timeout <= LONGEST_MS && this.clock.setTimeout(expire, timeout);
    signal?.addEventListener("abort", abort);
    return () => {
      this.clock.clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
    };
  }

  /** Takes a letter out: it is not written any more. The next leaves at once, unless the server had asked to wait. */
  #withdraw(letter, reason) {
    const index = this.#letters.indexOf(letter);
    if (index < 0) return;
    this.#letters.splice(index, 1);
    letter.reject(reason);
    if (index > 0 || !this.#isFresh) return;
    this.#strays.add(letter.frame.ref);
    this.transmit();
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
    const isSuspect = this.#isFresh && !this.#strays.size;
    this.#strays.clear();
    if (!first) return;
    first.cuts = isCut && isSuspect ? first.cuts + 1 : 0;
    if (first.cuts && code === TOO_LARGE) this.#giveUp(first, "too_large", reason || "The message is too large.");
    else if (first.cuts === MOST_CUTS) this.#giveUp(first, "undeliverable", UNDELIVERABLE);
  }

  #giveUp({ frame }, code, body) {
    this.refuse({ ref: frame.ref, code, body });
  }

  deliver(message) {
    this.#strays.delete(message.ref);
    this.#take(message.ref)?.resolve(message);
  }

  refuse({ ref, code, body, retry_after_ms }) {
    const meant = ref ?? (code === "too_large" ? this.#underWay : undefined);
    const isStray = this.#strays.delete(meant);
    if (passes(code)) this.#wait(retry_after_ms ?? PATIENCE_MS);
    else if (!isStray) this.#take(meant)?.reject(new BroadcastError(code, body));
  }

  reject(code, message) {
    for (const { reject } of this.#letters.splice(0)) reject(new BroadcastError(code, message));
    this.transmit();
  }

  /** The ref of what was written first and has no answer: what is too large is refused unread, and without its own. */
  get #underWay() {
    const [first = this.#letters[0]?.frame.ref] = this.#strays;
    return first;
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
