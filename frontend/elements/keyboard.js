import { page } from "../client/page.js";
import { elementsOf } from "./element.js";
import { around, focused } from "./focus.js";

const BOARDS = "broadcast-announcements";

/** The way of the keyboard to what is announced, and back to where it was. */
export class Keyboard {
  constructor(frame, dismiss, signal) {
    Object.assign(this, { frame, dismiss });
    frame.addEventListener("focusin", ({ relatedTarget }) => this.#remember(relatedTarget), { signal });
    document.addEventListener("keydown", (event) => this.#pressed(event), { signal });
  }

  get isWithin() {
    return this.frame.matches(":focus-within");
  }

  goBack() {
    page.before?.focus();
    if (this.isWithin) focused().blur();
  }

  #remember(element) {
    if (element && !around(element, `${BOARDS}, broadcast-portal`)) page.before = element;
  }

  #pressed(event) {
    if (event.defaultPrevented) return;
    if (event.key === "F6") this.#switch(event);
    if (event.key === "Escape") this.#quit(event);
  }

  /** To the first element of the page that has something, on to the next, and back. */
  #switch(event) {
    const all = elementsOf(BOARDS).map(({ frame }) => frame);
    const frames = all.filter((frame) => frame?.hasAttribute("tabindex"));
    if (!frames.length) return;
    event.preventDefault();
    const next = frames[frames.findIndex((frame) => frame.matches(":focus-within")) + 1];
    if (!next) return this.goBack();
    const before = focused();
    next.focus();
    this.#remember(before);
  }

  #quit(event) {
    const { frame } = this;
    const card = frame.querySelector("article:focus-within") ?? frame.querySelector("article:hover");
    if (!card && !frame.matches(":focus")) return;
    event.preventDefault(); // a dialog stays open
    if (card) this.dismiss(card);
    else this.goBack();
  }
}
