import { connect, newRef } from "../client/broadcast.js";
import { dismiss, isDismissed } from "./dismissed.js";
import { make } from "./make.js";
import { Source } from "./source.js";
import { textsOf } from "./texts.js";

const LEVELS = ["info", "success", "warning", "error"];
/** Where an announcement may lead: nothing that runs. */
const LINK = /^(https?:\/\/|[/?#.])/i;
const TICK_MS = 250;
/** What came and is shown: by one element of the page, however many hear of it. @type {WeakSet<object>} */
const shownFrames = new WeakSet();
/** What was dismissed here, or had its time, by its key: no copy of the page brings it back. @type {Set<string>} */
const gone = new Set();

/** What the site says, as toasts or a banner: it stays until it is dismissed or its time is over. */
export class Announcements extends HTMLElement {
  #subscriptions = [];
  /** What is shown, oldest first. @type {Set<HTMLElement>} */
  #shown = new Set();
  #next;
  #ending;
  /** Where the keyboard was before it came here. */
  #before;

  connectedCallback() {
    this.text = textsOf(this);
    this.#frame();
    for (const article of this.querySelectorAll("article")) if (isGone(article.dataset)) article.remove();
    this.#shown = new Set(this.querySelectorAll("article"));
    this.#ending = new AbortController();
    const { signal } = this.#ending;
    this.addEventListener("click", (event) => this.#clicked(event), { signal });
    this.addEventListener("focusin", (event) => this.#entered(event), { signal });
    document.addEventListener("keydown", (event) => this.#pressed(event), { signal });
    this.#subscribe();
    this.#run();
  }

  disconnectedCallback() {
    this.#ending.abort();
    clearTimeout(this.#next);
    this.#subscriptions.forEach((subscription) => subscription.close());
    this.#keepPlace();
  }

  /** Should it be put back, or a copy of it, that goes on from here. */
  #keepPlace() {
    const positions = this.#subscriptions.map(({ position }) => position);
    this.setAttribute("epoch", positions.map(({ epoch }) => epoch).join(" "));
    this.setAttribute("offset", positions.map(({ offset }) => offset ?? "").join(" "));
  }

  #frame() {
    if (this.firstElementChild) return;
    this.setAttribute("role", "region");
    this.setAttribute("aria-label", this.text("announcements"));
    this.append(make("div", { role: "alert", "aria-atomic": "false" }), make("div", { role: "status", "aria-atomic": "false" }));
  }

  #subscribe() {
    const list = (name, fallback = "") => (this.getAttribute(name) ?? fallback).split(" ");
    const client = connect(this.getAttribute("socket") ?? undefined);
    const [epochs, offsets] = [list("epoch"), list("offset")];
    this.#subscriptions = list("group", "broadcast").map((name, i) => {
      const subscription = client.subscribe(name, epochs[i] ? { epoch: epochs[i], offset: Number(offsets[i]) } : {});
      subscription.addEventListener("message", ({ detail }) => this.#hear(detail, subscription.position.epoch));
      subscription.addEventListener("moved", () => this.#keepPlace());
      return subscription;
    });
  }

  #hear(frame, epoch) {
    if (frame.source !== Source.SERVER || isShown(frame, epoch) || isGone({ ...frame, epoch })) return;
    const event = new CustomEvent("broadcast-message", { bubbles: true, cancelable: true, detail: frame });
    if (this.dispatchEvent(event)) this.#show(frame, epoch);
  }

  #show(frame, epoch) {
    shownFrames.add(frame);
    const { body, offset, data, ref } = frame;
    const { level: named, title, url, timeout } = data ?? {};
    const level = LEVELS.includes(named) ? named : "info";
    const seconds = typeof timeout === "number" && timeout >= 0 ? timeout : this.#number("timeout", 10);
    const head = typeof title === "string" && title;
    const linked = (text) => (typeof url === "string" && LINK.test(url) ? make("a", { href: url }, text) : text);
    const article = make(
      "article",
      {
        "data-level": level,
        "data-epoch": epoch,
        "data-offset": offset,
        "data-ref": ref ?? newRef(),
        "data-left-ms": seconds * 1000,
      },
      make("span", { role: "img", "aria-label": this.text(level) }),
      make(
        "div",
        {},
        head && make("p", { "data-title": true, dir: "auto" }, linked(head)),
        make("p", { "data-body": true, dir: "auto" }, head ? body : linked(body)),
      ),
      make("button", { type: "button", "aria-label": this.text("dismiss") }),
    );
    const isUrgent = level === "warning" || level === "error";
    this.querySelector(isUrgent ? "[role=alert]" : "[role=status]").append(article);
    this.#shown.add(article);
    const surplus = this.#shown.size - this.#number("max", 4);
    for (const oldest of [...this.#shown].slice(0, Math.max(0, surplus))) this.#remove(oldest);
    this.#run();
  }

  #number(name, fallback) {
    return Number(this.getAttribute(name) ?? fallback);
  }

  #run() {
    clearTimeout(this.#next);
    const timed = [...this.#shown].filter(({ dataset }) => dataset.leftMs > 0);
    if (timed.length) this.#next = setTimeout(() => this.#pass(timed), TICK_MS);
  }

  /** Time goes by only for those who could read. */
  #pass(timed) {
    const isRead = document.hidden || this.matches(":hover, :focus-within");
    if (!isRead) for (const article of timed) if ((article.dataset.leftMs -= TICK_MS) <= 0) this.#finish(article);
    this.#run();
  }

  #entered({ relatedTarget }) {
    if (relatedTarget && !this.contains(relatedTarget)) this.#before = relatedTarget;
  }

  #clicked({ target }) {
    if (target.closest("button")) this.#dismiss(target.closest("article"));
  }

  #pressed({ key }) {
    if (key !== "Escape") return;
    const article = this.querySelector("article:focus-within") ?? this.querySelector("article:hover");
    if (article) this.#dismiss(article);
  }

  #dismiss(article) {
    const { epoch, offset } = article.dataset;
    if (epoch && offset) dismiss(epoch, offset);
    this.#finish(article);
  }

  /** Takes one away for good. */
  #finish(article) {
    const key = keyOf(article.dataset);
    if (key) gone.add(key);
    this.#remove(article);
  }

  #remove(article) {
    const hadFocus = article.contains(document.activeElement);
    article.remove();
    this.#shown.delete(article);
    if (hadFocus) (this.querySelector("button") ?? this.#before)?.focus();
  }
}

/** What is known of an article or a frame in every copy of it; nothing of an article that a site drew by itself. */
const keyOf = ({ epoch, offset, ref }) => (offset ? `${epoch}:${offset}` : ref);

/** Whether it was dismissed or had its time, on this page or another of the browser's. */
function isGone(one) {
  return gone.has(keyOf(one)) || isDismissed(one.epoch, one.offset);
}

/** Whether an element of the page has it: heard it first, or was served with it. */
function isShown(frame, epoch) {
  const place = `[data-epoch="${CSS.escape(epoch)}"][data-offset="${frame.offset}"]`;
  return shownFrames.has(frame) || document.querySelector(`broadcast-announcements article${place}`) !== null;
}

customElements.define("broadcast-announcements", Announcements);
