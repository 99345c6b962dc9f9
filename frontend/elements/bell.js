import sheet from "./bell.css" with { type: "css" };
import { keyOf, parts } from "./card.js";
import { isDismissed, onDismissed } from "./dismissed.js";
import { BroadcastElement, reflect } from "./element.js";
import { make } from "./make.js";
import { localise } from "./moment.js";
import { markRead, onRead, readUpTo } from "./received.js";
import { Source } from "./source.js";
import { Streams } from "./streams.js";
import { BELL, LEVELS } from "./texts.js";

const MOST_COUNTED = 99;
const LIMIT = 20;
const MOST_LISTED = 100;

/** How many announcements and messages to the reader came since its list was last opened, and the list. */
export class Bell extends BroadcastElement {
  static sheet = sheet;
  static texts = { ...LEVELS, ...BELL };
  static observedAttributes = ["data-state", "group", "socket", "user", "own", "personal", "url", "limit", "texts"];

  /** How many are new that the list has no room for. */
  #unlisted = 0;
  #streams;
  /** The groups, and for whom, that it follows. */
  #followed;
  #hasAsked = false;
  #asking;

  build() {
    return make(
      "div",
      { "data-frame": true, part: "frame" },
      make(
        "details",
        {},
        make(
          "summary",
          { "data-button": true, part: "button" },
          make("span", { "data-icon": true, part: "icon" }),
          make("span", { "data-count": true, part: "count", hidden: true }),
        ),
        make(
          "div",
          { role: "region", "aria-label": this.text("notifications"), tabindex: 0, "data-panel": true, part: "panel" },
          make("p", { "data-nothing": true, part: "nothing" }, this.text("nothing")),
          make("ol", { "data-list": true, part: "list" }),
        ),
      ),
    );
  }

  opened(signal) {
    const { frame } = this;
    this.details = frame.querySelector("details");
    this.button = frame.querySelector("summary");
    this.list = this.part("list");
    this.details.open = false;
    frame.querySelector("form")?.remove();
    frame.querySelectorAll("time").forEach(localise);
    this.#unlisted = Math.max(0, this.number("unread", 0) - this.#unread.length);
    this.button.setAttribute("role", "button");
    this.details.addEventListener("toggle", () => this.#toggled(), { signal });
    frame.addEventListener("keydown", (event) => this.#pressed(event), { signal });
    document.addEventListener("pointerdown", (event) => event.composedPath().includes(this) || this.#close(), { signal });
    addEventListener("pageshow", ({ persisted }) => persisted && this.#ask(), { signal });
    onDismissed((one) => this.#read((row) => row.dataset.epoch === one.epoch && row.dataset.offset === `${one.offset}`), signal);
    onRead((places) => this.#readTo(places), signal);
    this.#streams ??= new Streams(this, {
      hear: (message, { position, group }) => this.#hear(message, position.epoch, group),
      moved: () => this.#keep(),
    });
    this.#follow();
    if (this.#isGuests) this.#read(({ dataset: { epoch, offset } }) => isReadHere(epoch, offset));
    this.#show();
    if (!this.#hasAsked) this.#ask();
  }

  closed() {
    this.#asking?.abort();
    this.#asking = undefined;
    this.#streams.close();
    this.#keep();
  }

  changed(names) {
    if (this.#wanted !== this.#followed) {
      this.#empty();
      this.#streams.close();
      this.#follow();
      this.#ask();
    } else if (["url", "limit", "personal"].some((name) => names.has(name))) this.#ask();
    this.#show();
  }

  // What comes

  #follow() {
    this.#followed = this.#wanted;
    this.#streams.open();
  }

  get #wanted() {
    return ["group", "socket", "user"].map((name) => this.getAttribute(name) ?? "").join("\n");
  }

  get #limit() {
    return Math.min(Math.max(1, Math.floor(this.number("limit", LIMIT))), MOST_LISTED);
  }

  get #isGuests() {
    return !this.getAttribute("user") || !this.getAttribute("url");
  }

  #hear(message, epoch, group) {
    const { offset, source } = message;
    const isFor = source === Source.SERVER || group === this.getAttribute("own");
    if (!isFor || offset === null || this.#find(epoch, offset)) return;
    const event = new CustomEvent("broadcast-message", { bubbles: true, cancelable: true, composed: true, detail: message });
    if (!this.dispatchEvent(event)) return;
    const isNew = !(this.#isGuests && isReadHere(epoch, offset));
    this.list.prepend(this.#draw({ ...message, epoch }, isNew));
    this.#trim();
    this.#show();
  }

  /** Asks the server, once: what is here may come out of a cache, and be made for somebody else. */
  async #ask() {
    const address = this.getAttribute("url");
    if (!address) return;
    const url = new URL(address, location.href);
    const own = this.getAttribute("own");
    for (const name of this.#streams.names) if (name !== own) url.searchParams.append("group", name);
    if (this.personal) url.searchParams.set("personal", "1");
    url.searchParams.set("limit", this.#limit);
    this.#asking?.abort();
    this.#asking = new AbortController();
    const { signal } = this.#asking;
    try {
      const answer = await fetch(url, { headers: { Accept: "application/json" }, credentials: "same-origin", signal });
      if (answer.ok) this.#take(await answer.json());
      else if ([403, 404].includes(answer.status)) this.#forgetReader();
      this.#hasAsked = true;
    } catch {
      // What is here stays.
    }
  }

  /** What is here was for somebody who may read it. */
  #forgetReader() {
    this.#empty();
    this.setAttribute("user", "");
    this.removeAttribute("own");
    this.#show();
  }

  /** What came since the answer was made stays, and what was read meanwhile is read. */
  #take({ user, unread, groups, messages }) {
    const before = new Map(this.#rows.map((row) => [keyOf(row.dataset), row]));
    const isKnown = ({ epoch, offset }) => groups.some((group) => group.epoch === epoch && Number(offset) <= group.offset);
    const later = this.#rows.filter(({ dataset }) => groups.some(({ epoch }) => epoch === dataset.epoch) && !isKnown(dataset));
    const rows = messages.map((message) => {
      const row = before.get(keyOf(message));
      return this.#draw(message, message.unread && row?.dataset.unread !== "seen" && !row?.hasAttribute("data-done"));
    });
    this.list.replaceChildren(...later, ...rows);
    this.#unlisted = Math.max(0, unread - messages.filter((message) => message.unread).length);
    this.#adopt(user ?? "", groups);
    this.#trim();
    if (this.details.open) this.#markAll(); // it was opened before it was right
    this.#show();
  }

  /** It may be that of somebody else than whom the page was made for, with other groups. */
  #adopt(user, groups) {
    const names = groups.map(({ name }) => name).join(" ");
    const own = groups.find((group) => group.own)?.group;
    this.setAttribute("user", user);
    if (own) this.setAttribute("own", own);
    else this.removeAttribute("own");
    if (names === this.#streams.names.join(" ") && this.#wanted === this.#followed) return;
    this.#streams.close();
    this.setAttribute("group", names);
    this.setAttribute("epoch", groups.map(({ epoch }) => epoch).join(" "));
    this.setAttribute("offset", groups.map(({ offset }) => offset ?? "").join(" "));
    this.#follow();
  }

  #keep() {
    this.keep(this.#streams.positions);
  }

  // What is shown

  get #rows() {
    return [...this.list.children];
  }

  /** Rows that count as new. What was seen just now is marked until the list is closed. */
  get #unread() {
    return this.#rows.filter(({ dataset }) => dataset.unread === "");
  }

  #find(epoch, offset) {
    return this.#rows.find(({ dataset }) => keyOf(dataset) === keyOf({ epoch, offset }));
  }

  #draw(one, isNew) {
    const { level, sign, words } = parts(one, this.text);
    const { epoch, offset, source, author } = one;
    const time = words.querySelector("time");
    if (source !== Source.SERVER) time.before(make("span", { "data-author": true, part: "author", dir: "auto" }, author), " ");
    if (isNew) words.prepend(make("b", { "data-new": true, part: "new" }, this.text("unread")));
    const attributes = { part: `item ${level}`, "data-level": level, "data-epoch": epoch, "data-offset": offset };
    return make("li", { ...attributes, "data-unread": isNew }, sign, words);
  }

  #trim() {
    const limit = this.#limit;
    for (const row of this.#rows.slice(limit)) {
      if (row.dataset.unread === "") this.#unlisted++;
      row.remove();
    }
  }

  #empty() {
    this.list.replaceChildren();
    this.#unlisted = 0;
  }

  #show() {
    const unread = this.#unread.length + this.#unlisted;
    const shown = unread > MOST_COUNTED ? `${MOST_COUNTED}+` : String(unread);
    const count = this.part("count");
    count.textContent = shown;
    count.hidden = unread === 0;
    this.setAttribute("unread", unread);
    this.button.setAttribute("aria-label", unread ? this.text("notified", shown) : this.text("notifications"));
    this.button.setAttribute("aria-expanded", String(this.details.open));
    this.part("nothing").hidden = this.list.childElementCount > 0;
    this.#keep();
  }

  // What the reader does

  #toggled() {
    if (this.details.open) this.#markAll();
    else this.#forget((row) => row.dataset.unread === "seen");
    this.#place();
    this.#show();
  }

  #markAll() {
    const address = this.getAttribute("url");
    const isNew = this.#unread.length + this.#unlisted > 0;
    for (const row of this.#unread) row.dataset.unread = "seen";
    this.#unlisted = 0;
    if (isNew) markRead(this.#streams.places, this.#isGuests ? null : new URL("read", new URL(address, location.href)).href);
  }

  /** Another tab has opened its list. */
  #readTo(places) {
    const isUpTo = ({ dataset }) => places.some(({ epoch, offset }) => epoch === dataset.epoch && Number(dataset.offset) <= offset);
    if (this.#streams.positions.some((own) => places.some(({ epoch }) => epoch === own.epoch))) this.#unlisted = 0;
    this.#read(isUpTo);
  }

  #read(isRead) {
    this.#forget((row) => row.dataset.unread === "" && isRead(row));
    this.#show();
  }

  #forget(which) {
    for (const row of this.#rows.filter(which)) {
      row.removeAttribute("data-unread");
      row.dataset.done = "";
      row.querySelector("[data-new]")?.remove();
    }
  }

  #pressed(event) {
    if (event.key !== "Escape" || !this.details.open) return;
    event.stopPropagation(); // what is around it stays open
    this.#close();
    this.button.focus();
  }

  #close() {
    this.details.open = false;
  }

  /** To the side where there is room. */
  #place() {
    const panel = this.part("panel");
    delete panel.dataset.side;
    const { left, right } = panel.getBoundingClientRect();
    if (left < 0 || right > document.documentElement.clientWidth) panel.dataset.side = "start";
  }
}

/** Whether this browser's guest has read or dismissed it. */
const isReadHere = (epoch, offset) => Number(offset) <= readUpTo(epoch) || isDismissed(epoch, offset);

reflect(Bell, {
  group: String,
  socket: String,
  epoch: String,
  offset: String,
  user: String,
  own: String,
  personal: Boolean,
  url: String,
  limit: Number,
  unread: Number,
  texts: String,
  shadow: String,
});
if (!customElements.get("broadcast-bell")) customElements.define("broadcast-bell", Bell);
