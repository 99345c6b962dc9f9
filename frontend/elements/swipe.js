/** How far a finger has to go, of the width of a card. */
const ENOUGH = 0.35;
/** How far it may go before it is a swipe, in pixels. */
const STILL = 8;

/** Dismisses a card that a finger pushes to the side. What is scrolled or selected is none. */
export class Swipe {
  #card;
  #from;
  #way = 0;

  constructor(frame, dismiss, signal) {
    this.dismiss = dismiss;
    frame.addEventListener("pointerdown", (event) => this.#begin(event), { signal });
    frame.addEventListener("pointermove", (event) => this.#move(event), { signal });
    for (const end of ["pointerup", "pointercancel"]) frame.addEventListener(end, (event) => this.#end(event), { signal });
  }

  #begin({ target, pointerType, clientX, isPrimary }) {
    const card = target.closest("article");
    if (!card || !isPrimary || pointerType === "mouse" || target.closest("button")) return;
    this.#card = card;
    this.#from = clientX;
    this.#way = 0;
  }

  #move({ clientX, pointerId }) {
    if (!this.#card) return;
    this.#way = clientX - this.#from;
    if (Math.abs(this.#way) < STILL) return;
    this.#card.setPointerCapture(pointerId);
    this.#card.style.translate = `${this.#way}px`;
    this.#card.style.opacity = String(1 - Math.abs(this.#way) / this.#card.offsetWidth);
  }

  #end({ type }) {
    const card = this.#card;
    this.#card = undefined;
    if (!card) return;
    if (type === "pointerup" && Math.abs(this.#way) > ENOUGH * card.offsetWidth) return this.dismiss(card);
    card.style.translate = card.style.opacity = "";
  }
}
