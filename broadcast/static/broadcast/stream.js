import { Type, passes } from "./wire.js";

const RETRY_MS = 5_000;

/** A group on the wire. All its subscriptions share it, each at a position of its own. */
export class Stream {
  subscriptions = new Set();
  #asking;
  #retry;

  constructor(name, send, clock) {
    Object.assign(this, { name, send, clock });
  }

  /** Asks for all that any of them misses: one question at a time, to know each answer for what it is. */
  ask() {
    this.clock.clearTimeout(this.#retry);
    if (this.#asking) return;
    const known = [...this.subscriptions].filter(({ hasPosition }) => hasPosition).map(({ position }) => position);
    const [earliest] = known.sort((a, b) => a.offset - b.offset);
    const frame = { type: Type.SUBSCRIBE, group: this.name, epoch: earliest?.epoch, after: earliest?.offset };
    if (this.send(frame)) this.#asking = [...this.subscriptions];
  }

  /** The link is gone, and with it whatever was asked. */
  pause() {
    this.clock.clearTimeout(this.#retry);
    this.#asking = null;
    for (const subscription of this.subscriptions) subscription.live = false;
  }

  welcome(frame) {
    const asking = this.#asking ?? [];
    this.#asking = null;
    for (const subscription of asking) if (this.subscriptions.has(subscription)) subscription.join(frame);
    if ([...this.subscriptions].some(({ live }) => !live)) this.ask();
  }

  message(frame) {
    for (const subscription of this.subscriptions) subscription.message(frame);
  }

  reset(frame) {
    for (const subscription of this.subscriptions) if (subscription.live) subscription.join(frame);
  }

  /** Whether it was refused for good; else it asks again later. */
  refuse({ code, retry_after_ms }) {
    this.pause();
    if (!passes(code)) return true;
    this.#retry = this.clock.setTimeout(() => this.ask(), retry_after_ms ?? RETRY_MS);
    return false;
  }
}
