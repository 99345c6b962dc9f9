import { page } from "../client/page.js";
import sheet from "./announcements.css" with { type: "css" };
import { draw, isUrgent, keyOf, rankOf, spoken } from "./card.js";
import { dismiss, isDismissed, onDismissed } from "./dismissed.js";
import { BroadcastElement, elementsOf, reflect } from "./element.js";
import { Keyboard } from "./keyboard.js";
import { make } from "./make.js";
import { localise } from "./moment.js";
import { Source } from "./source.js";
import { Streams } from "./streams.js";
import { Swipe } from "./swipe.js";
import { ANNOUNCEMENTS, LEVELS } from "./texts.js";
import { TopLayer } from "./top.js";

const TICK_MS = 250;
/** How long a sentence stays for screen readers to take up. */
const SPOKEN_MS = 5_000;
const MOST = { banner: 1, toasts: 4 };
const MOVING = "(prefers-reduced-motion: no-preference)";
/** A finger leaves `:hover` behind where it was, long after it has gone. */
const POINTING = "(hover: hover)";
const ENTERED = ":is(:focus-visible, :has(:focus-visible))";
/** How long the pointer is away before what it had kept in place may move. */
const AWAY_MS = 500;

/** What the site says, as toasts or a banner: it stays until it is dismissed or its time is over. */
export class Announcements extends BroadcastElement {
  static sheet = sheet;
  static texts = { ...LEVELS, ...ANNOUNCEMENTS };
  static observedAttributes = ["data-state", "group", "socket", "user", "texts", "as", "position", "timeout", "max"];

  #streams;
  #next;
  #isExpanded = false;
  #top;
  #keyboard;

  build() {
    return make(
      "div",
      { "data-frame": true, part: "frame" },
      make("div", { role: "alert", "aria-atomic": "false", "data-urgent-news": true }),
      make("div", { role: "status", "aria-atomic": "false", "data-news": true }),
      make("div", { "data-cards": true, part: "cards" }),
      make(
        "div",
        { "data-tools": true, part: "tools" },
        make("button", { type: "button", "data-more": true, part: "more", hidden: true }),
        make("button", { type: "button", "data-clear": true, part: "clear", hidden: true }),
      ),
    );
  }

  opened(signal) {
    for (const card of this.#cards) {
      if (isGone(card.dataset)) card.remove();
      else card.querySelectorAll("time").forEach(localise);
    }
    const { frame } = this;
    frame.addEventListener("click", (event) => this.#clicked(event), { signal });
    frame.addEventListener("pointerleave", () => setTimeout(() => this.#release(), AWAY_MS), { signal });
    this.#keyboard = new Keyboard(frame, (card) => this.#dismiss(card), signal);
    onDismissed(({ epoch, offset }) => this.#leave(this.#find({ epoch, offset })), signal);
    new Swipe(frame, (card) => this.#dismiss(card), signal);
    this.#top ??= new TopLayer(this, frame);
    this.#top.open(signal);
    this.#streams ??= new Streams(this, {
      hear: (message, subscription) => this.#hear(message, subscription),
      moved: () => this.#keep(),
    });
    this.#follow();
    this.#arrange();
  }

  closed() {
    clearTimeout(this.#next);
    this.#streams.close();
    this.#top.close();
    this.#keep();
  }

  changed(names) {
    if (["group", "socket", "user"].some((name) => names.has(name))) {
      this.#streams.close();
      this.#follow();
    }
    this.#top.open();
    this.#arrange();
  }

  /**
   * Shows something of the page's own, in the place and by the rules of the site's: `body`, and perhaps `title`, `level`, `url`
   * and `timeout` in seconds. What it returns can be dismissed. Nobody else sees it, and it is gone with the page.
   */
  show({ body, ...data }) {
    const card = this.#add({ body: String(body), data });
    return { dismiss: () => this.#leave(card) };
  }

  /** Whether it is among what is shown or waits, by its key. */
  has(key) {
    return this.#cards.some(({ dataset }) => keyOf(dataset) === key);
  }

  // What comes

  #follow() {
    this.#streams.open();
    for (const card of this.#cards) if (card.dataset.epoch && !this.#streams.has(card.dataset.group ?? "")) card.remove();
  }

  #keep() {
    this.keep(this.#streams.positions);
  }

  #hear(frame, { name, position: { epoch } }) {
    if (frame.source !== Source.SERVER || isShown(frame, epoch) || isGone({ ...frame, epoch })) return;
    const event = new CustomEvent("broadcast-message", { bubbles: true, cancelable: true, composed: true, detail: frame });
    if (!this.dispatchEvent(event)) return;
    page.shown.add(frame);
    this.#add({ ...frame, epoch, group: name });
  }

  // What is shown

  get #cards() {
    return [...this.part("cards").children].filter((card) => !card.hasAttribute("data-leaving"));
  }

  #find(one) {
    const key = keyOf(one);
    return this.#cards.find(({ dataset }) => key && keyOf(dataset) === key);
  }

  #add(one) {
    const card = draw(one, this.text, this.number("timeout", this.getAttribute("as") === "banner" ? 0 : 10));
    card.setAttribute("data-new", "");
    card.toggleAttribute("data-aside", this.#isPointedAt);
    card.addEventListener("animationend", () => card.removeAttribute("data-new"), { once: true });
    this.part("cards").append(card);
    this.#top.raise();
    this.#arrange();
    this.#speak(card);
    return card;
  }

  /** Those that matter most are shown, and of these the newest; what does not fit waits, and is counted. */
  #arrange() {
    const cards = this.#cards;
    const most = this.#isExpanded ? Infinity : Math.max(1, this.number("max", MOST[this.getAttribute("as")] ?? MOST.toasts));
    const shown = new Set([...cards].reverse().sort((a, b) => rankOf(b) - rankOf(a)).slice(0, most));
    const stays = (card) => this.#isPointedAt && !card.hidden;
    for (const card of cards) card.hidden = !shown.has(card) && !stays(card);
    this.#label("more", "more", cards.filter(({ hidden }) => hidden).length);
    this.#label("clear", "clear", cards.length > 1 ? cards.length : 0);
    this.#name(cards.length > 0);
    this.#top.place();
    this.#run();
    this.#keep();
  }

  #label(part, text, n) {
    const button = this.part(part);
    button.hidden = n === 0 || (button.hidden && this.#isPointedAt);
    button.textContent = this.text(text, n);
  }

  /** A landmark, where there is something to go to. */
  #name(isSomething) {
    const { frame } = this;
    for (const [name, value] of Object.entries({ role: "region", "aria-label": this.text("announcements"), tabindex: "-1" })) {
      if (isSomething) frame.setAttribute(name, value);
      else frame.removeAttribute(name);
    }
  }

  /** In a live region that was there before: a region that comes with its text is not spoken by all. */
  #speak(card) {
    const said = make("p", {}, spoken(card));
    this.part(isUrgent(card) ? "urgent-news" : "news").append(said);
    setTimeout(() => said.remove(), SPOKEN_MS);
  }

  #run() {
    clearTimeout(this.#next);
    const timed = this.#cards.filter(({ hidden, dataset }) => !hidden && dataset.leftMs > 0);
    if (timed.length) this.#next = setTimeout(() => this.#pass(timed), TICK_MS);
  }

  /** Time goes by only for those who could read. */
  #pass(timed) {
    const isRead = document.hidden || this.#isPointedAt || this.frame.matches(ENTERED);
    const over = isRead ? [] : timed.filter(({ dataset }) => (dataset.leftMs -= TICK_MS) <= 0);
    for (const card of over) this.#leave(card);
    this.#run();
  }

  // What the reader does

  /** Then nothing that comes moves what is there: a click would land on another. */
  get #isPointedAt() {
    return matchMedia(POINTING).matches && this.frame.matches(":hover");
  }

  #release() {
    if (!this.isConnected || this.#isPointedAt) return;
    for (const card of this.#cards) card.removeAttribute("data-aside");
    this.#arrange();
  }

  #clicked(event) {
    const button = event.target.closest("button");
    if (!button) return;
    event.preventDefault(); // without a script it sends a form
    if (button.hasAttribute("data-clear")) this.#clear();
    else if (button.hasAttribute("data-more")) this.#expand();
    else this.#dismiss(button.closest("article"));
  }

  #clear() {
    const { isWithin } = this.#keyboard;
    for (const card of this.#cards) this.#dismiss(card);
    if (isWithin) this.#keyboard.goBack();
  }

  #expand() {
    this.#isExpanded = true;
    this.#arrange();
    this.frame.focus();
  }

  #dismiss(card) {
    const { epoch, offset, group } = card.dataset;
    if (epoch && offset) dismiss({ epoch, offset, group }, this.getAttribute("dismiss-url"));
    this.#leave(card);
  }

  /** Takes one away for good; the keyboard goes on to the next, and at last back to where it was. */
  #leave(card) {
    if (!card) return;
    const cards = this.#cards;
    const hadFocus = card.matches(":focus-within") || (this.#keyboard.isWithin && cards.length === 1);
    const key = keyOf(card.dataset);
    if (key) page.gone.add(key);
    card.setAttribute("data-leaving", "");
    card.inert = true;
    vanish(card);
    if (cards.length <= 2) this.#isExpanded = false;
    this.#arrange();
    if (!hadFocus) return;
    const at = cards.indexOf(card);
    const next = [...cards.slice(at + 1), ...cards.slice(0, at).reverse()].find(({ hidden }) => !hidden);
    if (next) next.querySelector("button").focus();
    else this.#keyboard.goBack();
  }
}

function vanish(card) {
  if (document.hidden || !matchMedia(MOVING).matches) return card.remove();
  card.animate({ opacity: 0, scale: 0.96 }, { duration: 150, fill: "forwards" }).finished.finally(() => card.remove());
}

/** Whether it was dismissed or had its time, on this page or another of the browser's. */
function isGone(one) {
  return page.gone.has(keyOf(one)) || isDismissed(one.epoch, one.offset);
}

/** Whether an element of the page has it: heard it first, or was served with it. */
function isShown(frame, epoch) {
  const key = keyOf({ ...frame, epoch });
  return page.shown.has(frame) || elementsOf("broadcast-announcements").some((other) => other.has(key));
}

reflect(Announcements, {
  group: String,
  socket: String,
  epoch: String,
  offset: String,
  user: String,
  texts: String,
  shadow: String,
  as: String,
  position: String,
  timeout: Number,
  max: Number,
});
if (!customElements.get("broadcast-announcements")) customElements.define("broadcast-announcements", Announcements);
