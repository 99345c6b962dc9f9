import { Position } from "./position.js";

/** One reader of a group: hears each message once and in order. */
export class Subscription extends EventTarget {
  /** Whether what is sent now arrives here. */
  live = false;
  #leave;

  constructor(group, { epoch, offset }, leave) {
    super();
    this.group = group;
    this.position = new Position(epoch, offset);
    this.#leave = leave;
  }

  close() {
    this.live = false;
    this.#leave(this);
  }

  /** Takes its place in a stream that goes on from where the frame says. */
  join(frame) {
    const { position } = this;
    if (!position.isServedBy(frame)) {
      if (position.isKnown) this.tell("lost", frame);
      position.moveTo(frame.epoch, frame.offset);
    }
    if (this.live) return;
    this.live = true;
    this.tell("live", frame);
  }

  message(frame) {
    if (this.live && this.position.advance(frame.offset)) this.tell("message", frame);
  }

  tell(event, detail) {
    this.dispatchEvent(new CustomEvent(event, { detail }));
  }
}
