import { page } from "../client/page.js";
import { make } from "./make.js";
import { textsOf } from "./texts.js";

/** How long what is shown may differ from the copy of it, in milliseconds: a copy costs as much as what is shown. */
const COPY_MS = 300;
/** When pages are written down by htmx 2 and 4 and by Turbo, or the browser puts this one away. */
const WRITING_DOWN = ["htmx:beforeHistorySave", "htmx:before:history:update", "turbo:before-cache", "pagehide"];
/** The sheet of before the script. */
const LOOKS = "link[data-looks]";

/**
 * What all elements have in common: a tree of their own, and properties that reflect their attributes.
 *
 * The tree is in a shadow root, where the page's styles do not reach it: the parser made it from a template that the server
 * drew, or it is made here from one that was not parsed but set, cloned or cached. As a root is lost then, the element keeps
 * such a template within it, with a copy of what it shows and the position after that. Where the server drew the tree
 * into the page itself, or `shadow="none"` asks for that, it stays there.
 */
export class BroadcastElement extends HTMLElement {
  /** The tree: the shadow root, or the element itself. @type {ShadowRoot | this | undefined} */
  root;
  /** What is drawn in it: all that the element shows. @type {HTMLElement | undefined} */
  frame;
  /** Ends what the element does while it is in a page. @type {AbortController | undefined} */
  #ending;
  #copy;
  #copying;
  /** That of the connection. */
  #state = "";
  /** Whether groups were asked for: frameworks take the attribute away where they have no name yet. */
  #hasAsked = false;
  /** Names of attributes that were changed from outside, and are not yet acted upon. @type {Set<string>} */
  #changed = new Set();
  /** The position after what is shown. */
  #kept = {};
  /** The position as it is in the attributes, unless somebody else has set another there. */
  #written = {};

  constructor() {
    super();
    for (const name of Object.keys(this.constructor.properties)) {
      if (!Object.hasOwn(this, name)) continue; // set by a framework before the class was there
      const value = this[name];
      delete this[name];
      this[name] = value;
    }
  }

  connectedCallback() {
    this.#ending = new AbortController();
    const { signal } = this.#ending;
    const start = () => this.#start(signal);
    // The parser may not be through with what stands within.
    if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start, { signal });
    else start();
  }

  disconnectedCallback() {
    this.#ending.abort();
    page.elements.delete(this);
    if (!this.root) return;
    this.closed();
    this.#writeDown();
  }

  /** Moved within the page in one step: everything goes on. */
  connectedMoveCallback() {}

  attributeChangedCallback(name, before, now) {
    if (name === "group" && now !== null) this.#hasAsked = true;
    if (name === "data-state") return this.#showState();
    if (before === now || !this.root) return;
    if (name === "group" && groups(before) !== groups(now)) this.#forgetPosition();
    if (!this.isConnected) return;
    if (!this.#changed.size) queueMicrotask(() => this.#act());
    this.#changed.add(name);
  }

  /** The names of the groups that it is to follow: the default one, unless others were ever asked for. */
  get asked() {
    return this.getAttribute("group") ?? (this.#hasAsked ? "" : "broadcast");
  }

  /** A part of what is shown, by the name of its `data-` attribute. */
  part(name) {
    return this.frame.querySelector(`[data-${name}]`);
  }

  /** The whole number in an attribute, or what counts where there is no usable one. */
  number(name, fallback) {
    const value = this.getAttribute(name);
    return value !== null && value.trim() !== "" && Number(value) >= 0 ? Number(value) : fallback;
  }

  /** Where its socket is; the site's own place, where that is not said in words that make an address. */
  get socketAddress() {
    const address = this.getAttribute("socket") || undefined;
    const isAddress = () => URL.canParse(address, location) && /^(http|ws)s?:$/.test(new URL(address, location).protocol);
    if (address === undefined || isAddress()) return address;
    console.error(`<${this.localName}>: socket must be an address of a WebSocket; it came as ${address}`);
  }

  /** The position to go on from in each group: as many as were told. */
  get places() {
    const list = (name) => (this.getAttribute(name) ?? "").split(" ");
    const offsets = list("offset");
    return list("epoch").map((epoch, i) => (isPlace(epoch, Number(offsets[i])) ? { epoch, offset: Number(offsets[i]) } : {}));
  }

  /** What is shown or where it stands has changed: a copy of the page, put back, goes on from here. */
  keep(positions) {
    const epoch = positions.map(({ epoch }) => epoch).join(" ");
    this.#kept = { epoch, offset: positions.map(({ offset }) => offset ?? "").join(" ") };
    if (this.root === this || !this.hasAttribute("epoch")) return this.#writeDown();
    this.#copying ??= setTimeout(() => this.#writeDown(), COPY_MS);
  }

  /** The position was that of the group before, unless another was set along with this one. */
  #forgetPosition() {
    this.#kept = {};
    const isOwn = ["epoch", "offset"].every((name) => (this.getAttribute(name) ?? "") === (this.#written[name] ?? ""));
    if (isOwn) for (const name of ["epoch", "offset"]) this.removeAttribute(name);
  }

  #start(signal) {
    this.text = textsOf(this);
    if (!this.root) this.#takeRoot();
    page.elements.add(this);
    for (const event of WRITING_DOWN) addEventListener(event, () => this.#writeDown(), { signal, capture: true });
    this.opened(signal);
  }

  /** The state of the connection: in `data-state` for style sheets, as an event for scripts. */
  tell(state, reason) {
    const before = this.dataset.state;
    this.#state = state;
    this.#showState();
    if (state === before) return;
    const detail = { state, reason };
    this.dispatchEvent(new CustomEvent("broadcast-state", { bubbles: true, composed: true, detail }));
  }

  /** Also where a page is morphed into a fresh one, in which it has not begun. */
  #showState() {
    if (this.#state && this.dataset.state !== this.#state) this.dataset.state = this.#state;
  }

  #act() {
    const changed = this.#changed;
    this.#changed = new Set();
    this.text = textsOf(this);
    if (this.isConnected) this.changed(changed);
  }

  #takeRoot() {
    const template = [...this.children].find((child) => child.matches("template[shadowrootmode]"));
    if (this.getAttribute("shadow") === "none" || this.querySelector(":scope > [data-frame]")) this.root = this;
    else this.root = this.shadowRoot ?? this.attachShadow({ mode: "open" });
    if (this.root === this) {
      template?.replaceWith(template.content);
    } else {
      this.root.adoptedStyleSheets = [this.constructor.sheet];
      this.root.querySelector(LOOKS)?.remove();
      if (template && !this.root.firstElementChild) this.root.append(withoutLooks(template.content));
      this.#copy = template;
    }
    this.#written = { epoch: this.getAttribute("epoch"), offset: this.getAttribute("offset") };
    this.frame = this.root.querySelector("[data-frame]");
    if (!this.frame) this.root.append((this.frame = this.build()));
    if (!template) this.#writeDown();
  }

  #writeDown() {
    clearTimeout(this.#copying);
    this.#copying = undefined;
    this.#writePosition();
    if (this.root === this) return;
    this.#copy ??= make("template", { shadowrootmode: "open" });
    if (this.#copy.parentNode !== this) this.append(this.#copy);
    this.#copy.content.replaceChildren(this.frame.cloneNode(true));
  }

  #writePosition() {
    for (const [name, value] of Object.entries(this.#kept)) this.setAttribute(name, value);
    Object.assign(this.#written, this.#kept);
  }
}

const isPlace = (epoch, offset) => /^[\w-]{1,64}$/.test(epoch) && Number.isSafeInteger(offset) && offset >= 0;

/** The elements of the page that have this name, in whichever root. */
export const elementsOf = (name) => [...page.elements].filter(({ localName }) => localName === name);

/** The groups of names, which may be signed ones. */
const groups = (names) => names?.replace(/:\S*/g, "");

/** A copy of a tree to put into the page: a sheet in it would be fetched there, and refused if its nonce is another page's. */
function withoutLooks(content) {
  const tree = document.importNode(content, true);
  tree.querySelector(LOOKS)?.remove();
  return tree;
}

/**
 * Gives a class its properties, each of which reflects an attribute. `Boolean`: whether the attribute is there; `Number`
 * and `String`: what it says. A group that is set to nothing is asked for and not known yet: it is not the default one.
 */
export function reflect(Class, properties) {
  Class.properties = properties;
  for (const [name, kind] of Object.entries(properties)) {
    const attribute = name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    Object.defineProperty(Class.prototype, name, {
      get() {
        if (kind === Boolean) return this.hasAttribute(attribute);
        return kind === Number ? this.number(attribute, null) : (this.getAttribute(attribute) ?? "");
      },
      set(value) {
        const text = attribute === "group" ? (value ?? "") : value;
        if (kind === Boolean) this.toggleAttribute(attribute, value === "" || Boolean(value));
        else if (text == null) this.removeAttribute(attribute);
        else this.setAttribute(attribute, typeof text === "object" ? JSON.stringify(text) : text);
      },
      configurable: true,
      enumerable: true,
    });
  }
}
