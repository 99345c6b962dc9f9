/** How far this page has got in one group's log. */
export class Position {
  /**
   * @param {string} [epoch] empty where there is no log
   * @param {?number} [offset]
   */
  constructor(epoch = "", offset = null) {
    this.moveTo(epoch, offset);
  }

  /** Whether there is something to resume from. */
  get isKnown() {
    return this.epoch !== "" && this.offset !== null;
  }

  /** @param {string} epoch @param {?number} offset */
  moveTo(epoch, offset) {
    this.epoch = epoch ?? "";
    this.offset = offset ?? null;
  }

  /**
   * Moves on to `offset`; false when it was passed before. What has no offset is always new.
   *
   * @param {?number} offset
   */
  advance(offset) {
    if (offset == null) return true;
    if (this.offset !== null && offset <= this.offset) return false;
    this.offset = offset;
    return true;
  }
}
