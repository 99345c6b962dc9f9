import { groupOf } from "./wire.js";

/** One reader of a group: hears each message once, from its position on. */
export class Subscription extends EventTarget {
  live = false;

  constructor(name, { epoch = "", offset = null } = {}, close) {
    super();
    Object.assign(this, { name, group: groupOf(name), close, position: { epoch, offset } });
  }

  /** Whether there is something to resume from; not where there is no log. */
  get hasPosition() {
    return this.position.epoch !== "" && this.position.offset !== null;
  }

  /** Takes its place in a stream that goes on from where the frame says; what comes before that may be missing. */
  join(frame, isWhole = false) {
    const { epoch, offset } = frame;
    const missing = offset - this.position.offset;
    if (epoch !== this.position.epoch || (isWhole ? missing > 0 : missing)) {
      if (this.hasPosition) this.tell("lost", frame);
      this.position = { epoch, offset };
    }
    if (this.live) return;
    this.live = true;
    this.tell("live", frame);
  }

  message(frame) {
    const { position, live } = this;
    // What has no offset is in no log, and always new.
    if (!live || (frame.offset !== null && frame.offset <= position.offset)) return;
    position.offset = frame.offset ?? position.offset;
    this.tell("message", frame);
  }

  tell(event, detail) {
    this.dispatchEvent(new CustomEvent(event, { detail }));
  }
}
