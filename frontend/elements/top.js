import { around, focused } from "./focus.js";
import { Place } from "./place.js";

/** What is set on the element, and goes with what it shows. */
const LOOKS = [
  ...["paper", "ink", "quiet", "line", "accent", "success", "warning", "error"],
  ...["gap", "layer", "font", "size", "radius"],
].map((name) => `--broadcast-${name}`);

/**
 * Keeps toasts above all else on the page, and usable: in the top layer; within a modal dialog, for what is outside one
 * cannot be used; and away from where somebody writes. A banner stands where it is.
 */
export class TopLayer {
  /** Has the frame while a modal dialog is open: in that dialog, in a root of its own. */
  #portal;
  #observer;
  #place;
  /** The modal dialogs that are open, in the order in which they were opened. */
  #modals = [];

  constructor(element, frame) {
    Object.assign(this, { element, frame });
    this.#place = new Place(frame);
  }

  open(signal) {
    if (signal) this.#watch(signal);
    const isBanner = this.element.getAttribute("as") === "banner";
    this.frame.dataset.as = isBanner ? "banner" : "toasts";
    if (isBanner) this.#sink();
    else this.frame.setAttribute("popover", "manual");
    this.#follow();
    this.place();
  }

  close() {
    this.#observer?.disconnect();
    this.#goHome();
  }

  /** Above what was opened since; a frame in which the keyboard is stays where it is. */
  raise() {
    if (!this.#isToasts || this.frame.matches(":focus-within")) return;
    this.#follow();
    const { scrollTop } = this.frame;
    this.frame.hidePopover();
    this.frame.showPopover();
    this.frame.scrollTop = scrollTop;
  }

  /** Makes way again; a frame that is in use stays where it is, or a click on it would come to nothing. */
  place() {
    if (this.#isToasts) this.#place.take(this.element.getAttribute("position"));
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
    this.#observe(document);
    this.#place.watch(() => this.place(), signal);
    document.addEventListener("focusin", () => this.#follow(), { signal }); // of a dialog in a root, nothing else tells
  }

  #observe(root) {
    this.#observer.observe(root, { attributeFilter: ["open"], subtree: true });
  }

  /** Into the dialog that was opened last, or home. */
  #follow() {
    if (!this.frame.hasAttribute("popover")) return this.#goHome();
    const dialog = this.#modal;
    if (!dialog) this.#goHome();
    else if (this.#portal?.parentNode !== dialog) this.#goTo(dialog);
    if (this.frame.isConnected && !this.frame.matches(":popover-open")) this.frame.showPopover();
  }

  /** The modal dialog that was opened last. Of several that are new, it is the one with the focus. */
  get #modal() {
    const last = around(focused(), "dialog:modal");
    const others = [...document.querySelectorAll("dialog:modal")].filter((each) => each !== last);
    const known = this.#modals.filter((each) => each.isConnected && each.matches(":modal"));
    this.#modals = [...new Set([...known, ...others, ...(last ? [last] : [])])];
    return this.#modals.at(-1);
  }

  #goTo(dialog) {
    const portal = document.createElement("broadcast-portal");
    portal.shadowRoot.adoptedStyleSheets = [this.element.constructor.sheet];
    portal.shadowRoot.append(this.frame);
    const looks = getComputedStyle(this.element);
    for (const name of LOOKS) portal.style.setProperty(name, looks.getPropertyValue(name));
    portal.left = () => this.#portal === portal && this.#follow();
    this.#portal?.remove();
    this.#portal = portal;
    dialog.append(portal);
    this.#observe(dialog.getRootNode());
  }

  #goHome() {
    if (!this.#portal) return;
    this.element.root.append(this.frame);
    const portal = this.#portal;
    this.#portal = undefined;
    portal.remove();
  }
}

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
