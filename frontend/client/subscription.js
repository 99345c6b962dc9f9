import { groupOf } from "./wire.js";

/** One reader of a group: hears each message once, from its position on. */
export class Subscription extends EventTarget {
  live = false;
  /** Closed, or refused: it is told nothing more. */
  isOver = false;

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
    const isNew = epoch !== this.position.epoch;
    if (isNew || (isWhole ? missing > 0 : missing)) {
      const isLoss = this.hasPosition && frame.lost !== false && !(isNew && frame.recovered);
      if (isLoss) this.tell("lost", frame);
      this.#move(epoch, offset);
    }
    if (this.live || this.isOver) return;
    this.live = true;
    this.tell("live", frame);
  }

  /** Stays live in a stream that goes on from where others asked, unless that is past its own place. */
  stand({ epoch, offset }) {
    this.live &&= epoch === this.position.epoch && offset <= this.position.offset;
  }

  message(frame) {
    const { position, live } = this;
    const { offset } = frame;
    // What has no offset is in no log, and always new.
    if (!live || (offset !== null && offset <= position.offset)) return;
    if (offset !== null) this.position = { ...position, offset };
    this.tell("message", frame);
    if (offset !== null) this.tell("moved", this.position);
  }

  /** The group may not be read, or not any more. */
  end(frame) {
    const event = new CustomEvent("ended", { detail: frame });
    this.isOver = true;
    this.dispatchEvent(event);
  }

  #move(epoch, offset) {
    this.position = { epoch, offset };
    this.tell("moved", this.position);
  }

  tell(event, detail) {
    if (!this.isOver) this.dispatchEvent(new CustomEvent(event, { detail }));
  }
}
