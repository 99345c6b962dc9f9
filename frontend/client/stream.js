import { Type, passes } from "./wire.js";

const RETRY_MS = 5_000;

/** A group on the wire. All its subscriptions share it, each at a position of its own. */
export class Stream {
  subscriptions = new Set();
  /** What was asked and is not answered yet: after which place, and for whom. */
  #question;
  #retry;
  /** By which name it was asked last. */
  #name;

  constructor(group, send, clock) {
    Object.assign(this, { group, send, clock });
  }

  /** Whether an answer is to come. */
  get isAsking() {
    return Boolean(this.#question);
  }

  /** Asks for all that any of them misses: one question at a time, to know each answer for what it is. */
  ask() {
    this.clock.clearTimeout(this.#retry);
    if (this.#question || !this.subscriptions.size) return;
    const names = [...this.subscriptions].map(({ name }) => name);
    this.#name = names.findLast((name) => name !== this.group) ?? this.group;
    const place = this.#earliestPlace();
    const frame = { type: Type.SUBSCRIBE, group: this.#name, ...place };
    if (this.send(frame)) this.#question = { ...place, asking: [...this.subscriptions] };
  }

  /** Offsets compare within an epoch only: that of somebody who is not live yet, if there is one. */
  #earliestPlace() {
    const known = [...this.subscriptions].filter(({ hasPosition }) => hasPosition);
    const next = known.find(({ live }) => !live) ?? known[0];
    const { epoch } = next?.position ?? {};
    const offsets = known.filter(({ position }) => position.epoch === epoch).map(({ position }) => position.offset);
    return next && { epoch, after: Math.min(...offsets) };
  }

  /** The link is gone, and with it whatever was asked. */
  pause() {
    this.clock.clearTimeout(this.#retry);
    this.#question = null;
    for (const subscription of this.subscriptions) subscription.live = false;
  }

  welcome(frame) {
    const { epoch, after, asking = [] } = this.#question ?? {};
    this.#question = null;
    // What is missing right after the earliest place may be no loss to the others.
    const isWhole = frame.recovered || frame.offset > after;
    for (const subscription of asking.filter((one) => this.subscriptions.has(one))) {
      if (!subscription.hasPosition || subscription.position.epoch === epoch) subscription.join(frame, isWhole);
      else subscription.stand(frame);
    }
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
