import { Position } from "./position.js";
import { Type, passes } from "./wire.js";

/** How long to wait before asking again where the server named no time. */
const RETRY_MS = 5_000;

/** A group on the wire. All its subscriptions share it, each at a position of its own. */
export class Stream {
  subscriptions = new Set();
  #position = new Position();
  #asking = null;
  #retry;

  constructor(name, send, clock) {
    Object.assign(this, { name, send, clock });
  }

  add(subscription) {
    this.subscriptions.add(subscription);
    this.ask();
  }

  /** Asks for the group, from where on each of its subscriptions has what it needs. One question at a time. */
  ask() {
    this.clock.clearTimeout(this.#retry);
    if (this.#asking) return;
    const { epoch, offset } = this.#from();
    const position = epoch && { after: offset, epoch };
    if (this.send({ type: Type.SUBSCRIBE, group: this.name, ...position })) this.#asking = [...this.subscriptions];
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
    this.#position.moveTo(frame.epoch, frame.offset);
    for (const subscription of asking) subscription.join(frame);
    if ([...this.subscriptions].some(({ live }) => !live)) this.ask();
  }

  message(frame) {
    this.#position.advance(frame.offset);
    for (const subscription of this.subscriptions) subscription.message(frame);
  }

  reset(frame) {
    this.#position.moveTo(frame.epoch, frame.offset);
    for (const subscription of this.subscriptions) if (subscription.live) subscription.join(frame);
  }

  /** Asks again later, or returns false if there is nothing more to ask. */
  refuse({ code, retry_after_ms }) {
    this.#asking = null;
    if (!passes(code)) return false;
    this.clock.clearTimeout(this.#retry);
    this.#retry = this.clock.setTimeout(() => this.ask(), retry_after_ms ?? RETRY_MS);
    return true;
  }

  #from() {
    const positions = [...this.subscriptions].map(({ position }) => position).filter(({ isKnown }) => isKnown);
    return positions.sort((a, b) => a.offset - b.offset)[0] ?? this.#position;
  }
}
