import { elementsOf } from "./element.js";
import { focused } from "./focus.js";

const OPPOSITE = { bottom: "top", top: "bottom" };
const PLACES = ["top-start", "top", "top-end", "bottom-start", "bottom", "bottom-end"];
const WRITING = "input, textarea, select, [contenteditable]:not([contenteditable=false])";
/** How much of the window's height toasts take where there is no room for all, in per cent; the style sheet has the same. */
const STEPS = [100, 75, 50, 25];
/** With a keyboard on the screen less of its height is left than this. */
const WITH_KEYBOARD = 0.8;

/** Keeps toasts where the option says, unless somebody would have to write beneath them. */
export class Place {
  /** Where the reader writes; also while they have gone from there to the toasts. */
  #field = null;
  #isAsked = false;

  constructor(frame) {
    this.frame = frame;
  }

  /** Calls back when the page has become another, once a frame. */
  watch(act, signal) {
    const ask = () => {
      if (this.#isAsked) return;
      this.#isAsked = true;
      requestAnimationFrame(() => {
        this.#isAsked = false;
        act();
      });
    };
    for (const event of ["resize", "scroll", "focusin"]) addEventListener(event, ask, { signal, capture: true, passive: true });
    visualViewport?.addEventListener("resize", ask, { signal });
  }

  /** Takes the place, or the one opposite, with as much height as there is. What is pointed at stays on its side. */
  take(wanted) {
    const { frame } = this;
    const [side, ...end] = (PLACES.includes(wanted) ? wanted : "bottom-end").split("-");
    const now = frame.dataset.position?.split("-")[0] ?? side;
    frame.dataset.position = [now, ...end].join("-");
    const room = this.#room();
    const needed = frame.scrollHeight;
    const chosen = frame.matches(":hover") ? now : roomier(side, needed, room);
    if (chosen !== now) frame.dataset.position = [chosen, ...end].join("-");
    if (needed <= room[chosen]) delete frame.dataset.room;
    else frame.dataset.room = STEPS.find((step) => (step / 100) * innerHeight <= room[chosen]) ?? STEPS.at(-1);
  }

  /** How much height is free above and below all places in which somebody writes. */
  #room() {
    const { left, right } = this.frame.getBoundingClientRect();
    const room = { top: innerHeight, bottom: innerHeight };
    for (const box of [...this.#fields().map((field) => field.getBoundingClientRect()), ...keyboard()]) {
      const isSeen = box.width > 0 && box.height > 0 && box.top < innerHeight && box.bottom > 0;
      if (!isSeen || box.left >= right || box.right <= left) continue;
      room.top = Math.min(room.top, box.top);
      room.bottom = Math.min(room.bottom, innerHeight - box.bottom);
    }
    return room;
  }

  /** The boxes of the page's feeds, and where the reader is writing. */
  #fields() {
    const active = focused();
    if (!this.frame.contains(active)) this.#field = active?.matches(WRITING) ? active : null;
    const forms = elementsOf("broadcast-feed").map(({ frame }) => frame.querySelector("form"));
    return [...forms, this.#field].filter((field) => field !== null);
  }
}

/** The side that is wanted, if all have room there; else the other, if they have it there; else that which has more. */
function roomier(side, needed, room) {
  const other = OPPOSITE[side];
  if (needed <= room[side]) return side;
  return needed <= room[other] || room[other] > room[side] ? other : side;
}

/** What a keyboard on the screen covers. */
function keyboard() {
  const { scale, height, offsetTop } = visualViewport ?? {};
  if (!(scale === 1 && height < WITH_KEYBOARD * innerHeight)) return [];
  return [new DOMRect(0, offsetTop + height, innerWidth, innerHeight)];
}
