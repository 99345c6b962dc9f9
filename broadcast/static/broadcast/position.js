/** How far one reader has got in a group's log. The epoch is empty and the offset null where there is no log. */
export class Position {
  constructor(epoch, offset) {
    this.moveTo(epoch, offset);
  }

  /** Whether there is something to resume from. */
  get isKnown() {
    return this.epoch !== "" && this.offset !== null;
  }

  moveTo(epoch, offset) {
    this.epoch = epoch ?? "";
    this.offset = offset ?? null;
  }

  /** Whether a stream that goes on from where the frame says has all that is missing here. */
  isServedBy({ epoch, offset, recovered }) {
    return epoch === this.epoch && (recovered ? offset <= this.offset : offset === this.offset);
  }

  /** Moves on to `offset`; false when it was passed before. What has no offset is always new. */
  advance(offset) {
    if (offset == null) return true;
    if (this.offset !== null && offset <= this.offset) return false;
    this.offset = offset;
    return true;
  }
}
