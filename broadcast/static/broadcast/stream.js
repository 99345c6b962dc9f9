import { Type, passes } from "./wire.js";

const RETRY_MS = 5_000;

/** A group on the wire. All its subscriptions share it, each at a position of its own. */
export class Stream {
  subscriptions = new Set();
  #asking;
  #retry;
  /** What was asked last. */
  #name;
  #after;

  constructor(group, send, clock) {
    Object.assign(this, { group, send, clock });
  }

  /** Asks for all that any of them misses: one question at a time, to know each answer for what it is. */
  ask() {
    this.clock.clearTimeout(this.#retry);
    if (this.#asking) return;
    const known = [...this.subscriptions].filter(({ hasPosition }) => hasPosition).map(({ position }) => position);
    const [earliest] = known.sort((a, b) => a.offset - b.offset);
    const names = [...this.subscriptions].map(({ name }) => name);
    this.#name = names.findLast((name) => name !== this.group) ?? this.group;
    this.#after = earliest?.offset;
    const frame = { type: Type.SUBSCRIBE, group: this.#name, epoch: earliest?.epoch, after: this.#after };
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
    // What is missing right after the earliest place may be no loss to the others.
    const isWhole = frame.recovered || frame.offset > this.#after;
    for (const subscription of asking) if (this.subscriptions.has(subscription)) subscription.join(frame, isWhole);
    if ([...this.subscriptions].some(({ live }) => !live)) this.ask();
  }

  message(frame) {
    for (const subscription of this.subscriptions) subscription.message(frame);
  }

  reset(frame) {
    for (const subscription of this.subscriptions) if (subscription.live) subscription.join(frame);
  }

  /** Those that are refused for good: who came by the name that was asked for. The others ask again, now or later. */
  refuse({ code, retry_after_ms }) {
    this.pause();
    if (passes(code)) {
      this.#retry = this.clock.setTimeout(() => this.ask(), retry_after_ms ?? RETRY_MS);
      return [];
    }
    const refused = [...this.subscriptions].filter(({ name }) => name === this.#name);
    for (const subscription of refused) this.subscriptions.delete(subscription);
    if (this.subscriptions.size) this.ask();
    return refused;
  }
}
