import { make } from "./make.js";
import { localise } from "./moment.js";
import { Source } from "./source.js";

/** How many messages stay on the page. */
const LIMIT = 500;
/** How near the end, in pixels, counts as reading the newest. */
const NEAR = 48;

/** The messages on the page: it follows the newest, unless the reader has scrolled up. */
export class MessageLog {
  #following = true;
  #top = 0;
  #unseen = 0;
  #settling = false;

  constructor(root, text) {
    this.text = text;
    const part = (name) => root.querySelector(`[data-${name}]`);
    this.scroller = part("scroller");
    this.list = part("messages");
    this.pending = part("pending");
    this.jump = part("jump");
    this.list.querySelectorAll("time").forEach(localise);
    this.scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.jump.addEventListener("click", () => this.follow());
    this.sizes = new ResizeObserver(() => this.#settle());
  }

  open() {
    this.sizes.observe(this.scroller);
    this.follow();
  }

  /** Adds a message at the end. */
  add(frame, isOwn) {
    const row = this.#rowFor(frame, isOwn);
    row.toggleAttribute("data-follows", continues(this.list.lastElementChild, row));
    this.list.append(row);
    if (!this.#following) this.#count(this.#unseen + 1);
    this.#changed();
  }

  /** Marks that messages are missing here. */
  divide() {
    if (this.list.lastElementChild?.matches("[data-divider]")) return;
    this.list.append(make("li", { "data-divider": true }, this.text("gap")));
    this.#changed();
  }

  /** Shows what is on its way. */
  expect(frame) {
    const row = this.#rowFor(frame, true);
    row.append(this.#delivery());
    this.pending.append(row);
    this.follow();
    return row;
  }

  /** Goes to the newest message and stays with what comes. */
  follow() {
    this.#following = true;
    this.#count(0);
    this.#settle();
  }

  close() {
    this.sizes.disconnect();
  }

  /** Begins anew, for another group. */
  clear() {
    this.list.replaceChildren();
    this.pending.replaceChildren();
    this.follow();
  }

  #rowFor({ source, author, body, sent_at, offset, ref }, isOwn) {
    const time = make("time", { part: "time", dir: "auto", datetime: sent_at ?? new Date().toISOString() });
    localise(time);
    return make(
      "li",
      {
        part: isOwn ? `message ${source} own` : `message ${source}`,
        "data-source": source,
        "data-offset": offset,
        "data-ref": ref,
        "data-own": isOwn,
      },
      make("span", { "aria-hidden": "true", "data-initial": true, part: "initial" }, [...author][0]?.toUpperCase() ?? ""),
      make(
        "p",
        {},
        make("span", { dir: "auto", "data-author": true, part: "author" }, author),
        ...(source === Source.USER ? [] : [" ", make("small", {}, this.text(source))]),
      ),
      make("p", { dir: "auto", "data-body": true, part: "body" }, body),
      time,
    );
  }

  #delivery() {
    return make(
      "p",
      { "data-delivery": true },
      make("span", { role: "status", "data-note": true }, this.text("unsent")),
      make("button", { type: "button", "data-restore": true, hidden: true }, this.text("again")),
    );
  }

  #changed() {
    if (this.list.childElementCount >= 2 * LIMIT) return this.#settle();
    if (this.#settling) return;
    this.#settling = true;
    requestAnimationFrame(() => this.#settle());
  }

  /** Drops the oldest and puts the reader back where they were: at the end, or on the line they were reading. */
  #settle() {
    this.#settling = false;
    const surplus = this.list.childElementCount - LIMIT;
    const before = this.scroller.scrollHeight;
    for (let i = 0; i < surplus; i++) this.list.firstElementChild.remove();
    this.list.firstElementChild?.removeAttribute("data-follows");
    const after = this.scroller.scrollHeight;
    if (this.#following) this.scroller.scrollTop = after;
    else if (surplus > 0) this.scroller.scrollTop -= before - after;
    this.#top = this.scroller.scrollTop;
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    const isNear = scrollHeight - scrollTop - clientHeight <= NEAR;
    // Only the reader scrolls up; a distance alone may be a message that was added since.
    if (isNear && !this.#following) this.follow();
    else if (!isNear && scrollTop < this.#top) this.#following = false;
    this.#top = scrollTop;
  }

  #count(unseen) {
    this.#unseen = unseen;
    this.jump.hidden = unseen === 0;
    this.jump.textContent = this.text("jump", unseen);
  }
}

/** Whether `row` goes on where the message above it stopped: then its author need not be named again. */
function continues(above, row) {
  const voice = (element) => [
    element.dataset.source,
    element.hasAttribute("data-own"),
    element.querySelector("[data-author]")?.textContent,
  ];
  return above !== null && row.dataset.source !== Source.SERVER && `${voice(above)}` === `${voice(row)}`;
}
