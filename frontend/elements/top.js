/** The places of toasts, and where they make way to. */
const OPPOSITE = { bottom: "top", top: "bottom" };
const PLACES = ["top-start", "top", "top-end", "bottom-start", "bottom", "bottom-end"];
const IN_USE = ":hover, :focus-within";
const WRITING = "input, textarea, select, [contenteditable]:not([contenteditable=false])";

/**
 * Keeps toasts above all else on the page, and usable: in the top layer; within a modal dialog, for what is outside one
 * cannot be used; and away from where somebody writes. A banner stands where it is.
 */
export class TopLayer {
  /** Has the frame while a modal dialog is open: in that dialog, in a root of its own. */
  #portal;
  #observer;

  constructor(element, frame) {
    Object.assign(this, { element, frame });
  }

  open(signal) {
    if (signal) this.#watch(signal);
    const isBanner = this.element.getAttribute("as") === "banner";
    this.frame.dataset.as = isBanner ? "banner" : "toasts";
    if (isBanner) this.#sink();
    else this.frame.setAttribute("popover", "manual");
    this.#follow();
    this.#place();
  }

  close() {
    this.#observer?.disconnect();
    this.#goHome();
  }

  /** Above what was opened since; a frame in which the keyboard is stays where it is. */
  raise() {
    if (!this.#isToasts || this.frame.matches(":focus-within")) return;
    this.#follow();
    this.frame.hidePopover();
    this.frame.showPopover();
  }

  /** Makes way again; a frame that is in use stays where it is, or a click on it would come to nothing. */
  place() {
    if (!this.frame.matches(IN_USE)) this.#place();
  }

  /** Where the option says, unless somebody would have to write beneath it. */
  #place() {
    if (!this.#isToasts) return;
    const wanted = this.element.getAttribute("position");
    const place = PLACES.includes(wanted) ? wanted : "bottom-end";
    this.frame.dataset.position = place;
    if (!this.#isInTheWay()) return;
    this.frame.dataset.position = place.replace(/^bottom|^top/, (side) => OPPOSITE[side]);
    if (this.#isInTheWay()) this.frame.dataset.position = place;
  }

  get #isToasts() {
    return this.frame.hasAttribute("popover") && this.frame.isConnected;
  }

  #sink() {
    if (this.frame.matches(":popover-open")) this.frame.hidePopover();
    this.frame.removeAttribute("popover");
    delete this.frame.dataset.position;
  }

  #watch(signal) {
    this.#observer ??= new MutationObserver(() => this.#follow());
    this.#observer.observe(document, { attributeFilter: ["open"], subtree: true });
    addEventListener("resize", () => this.place(), { signal });
    const isWithin = (event) => event.composedPath().includes(this.frame);
    document.addEventListener("focusin", (event) => isWithin(event) || this.#place(), { signal });
  }

  /** Into the dialog that was opened last, or home. */
  #follow() {
    if (!this.frame.hasAttribute("popover")) return this.#goHome();
    const dialog = [...document.querySelectorAll("dialog:modal")].at(-1);
    if (!dialog) this.#goHome();
    else if (this.#portal?.parentNode !== dialog) this.#goTo(dialog);
    if (this.frame.isConnected && !this.frame.matches(":popover-open")) this.frame.showPopover();
  }

  #goTo(dialog) {
    const portal = document.createElement("broadcast-portal");
    portal.shadowRoot.adoptedStyleSheets = [this.element.constructor.sheet];
    portal.shadowRoot.append(this.frame);
    portal.left = () => this.#portal === portal && this.#follow();
    this.#portal?.remove();
    this.#portal = portal;
    dialog.append(portal);
  }

  #goHome() {
    if (!this.#portal) return;
    this.element.root.append(this.frame);
    const portal = this.#portal;
    this.#portal = undefined;
    portal.remove();
  }

  #isInTheWay() {
    const frame = this.frame.getBoundingClientRect();
    return frame.height > 0 && writingPlaces().some((place) => overlap(frame, place.getBoundingClientRect()));
  }
}

/** The boxes of the page's feeds, and where the reader is writing. */
function writingPlaces() {
  const feeds = [...document.querySelectorAll("broadcast-feed")];
  const forms = feeds.map((feed) => (feed.shadowRoot ?? feed).querySelector("form"));
  const active = document.activeElement?.matches(WRITING) ? document.activeElement : null;
  return [...forms, active].filter((place) => place !== null);
}

const overlap = (a, b) =>
  b.width > 0 && b.height > 0 && a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;

/** Says when a dialog is gone from the page together with what it has. */
class Portal extends HTMLElement {
  constructor() {
    super();
    this.attachShadow({ mode: "open" });
  }

  disconnectedCallback() {
    queueMicrotask(() => this.left?.());
  }
}

if (!customElements.get("broadcast-portal")) customElements.define("broadcast-portal", Portal);
