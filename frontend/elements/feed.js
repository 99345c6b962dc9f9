import { connect, newRef } from "../client/broadcast.js";
import { Composer } from "./composer.js";
import { BroadcastElement, reflect } from "./element.js";
import sheet from "./feed.css" with { type: "css" };
import { form, frame } from "./frame.js";
import { MessageLog } from "./log.js";
import { GuestName } from "./name.js";
import { Source } from "./source.js";
import { Status } from "./status.js";
import { FEED } from "./texts.js";

/** A group's messages, live, and perhaps a box to write in. */
export class Feed extends BroadcastElement {
  static sheet = sheet;
  static texts = FEED;
  static observedAttributes = ["data-state", "group", "socket", "user", "texts", "write", "max-body"];

  /** What was written here and is on its way, by its ref. */
  #rows = new Map();
  /** What is in the log and not heard yet, by its ref: the answer overtook what was missed. */
  #answered = new Map();
  #listening;
  /** Whose messages are shown; it may not be a name that a group can have. */
  #group;
  /** Whose box it is: known of one that was made here. */
  #writer;
  #text = (...words) => this.text(...words);

  build() {
    return frame(this.text);
  }

  /** None but the one that is asked for: what is written must not go to another. */
  get asked() {
    return this.getAttribute("group") ?? "";
  }

  opened() {
    this.log ??= new MessageLog(this.frame, this.#text);
    this.log.open();
    this.#adopt();
    this.status ??= new Status(this);
    this.#subscribe();
    this.#compose();
    this.#addBox();
  }

  closed() {
    this.#unsubscribe();
    this.log.close();
    this.status.close();
    this.#keep();
  }

  changed(names) {
    if (["write", "user", "texts"].some((name) => names.has(name))) this.#removeBox();
    if (["group", "socket", "user"].some((name) => names.has(name))) {
      this.#unsubscribe();
      this.#subscribe();
    }
    this.#compose();
    this.#addBox();
  }

  #keep() {
    if (this.subscription) this.keep([this.subscription.position]);
  }

  /** In a copy, what was on its way is heard like all else, and what came back can be restored. */
  #adopt() {
    for (const row of [...this.log.pending.children].filter(({ dataset }) => !this.#rows.has(dataset.ref))) {
      if (row.hasAttribute("data-failed")) this.#offer(row);
      else row.remove();
    }
  }

  /** Who reads: the name of a user, empty for guests. */
  get #reader() {
    return this.getAttribute("user") ?? this.client?.user ?? "";
  }

  /** A box that was asked for by hand comes when it is known whose it is. */
  #addBox() {
    const isKnown = this.hasAttribute("user") || this.client.user !== undefined;
    if (this.#writer !== undefined && !(this.hasAttribute("write") && this.#writer === this.#reader)) this.#removeBox();
    if (!this.hasAttribute("write") || !isKnown || this.frame.querySelector("form")) return;
    this.#writer = this.#reader;
    this.part("reading")?.remove(); // that one may not write
    this.frame.append(form(this.text, this.#writer));
    this.#compose();
  }

  #removeBox() {
    this.frame.querySelector("form")?.remove();
    this.composer = this.#writer = undefined;
  }

  #compose() {
    const form = this.frame.querySelector("form");
    this.composer ??=
      form &&
      new Composer(form, {
        text: this.#text,
        maxBody: () => this.number("max-body", 4000),
        name: form.elements.author ? new GuestName(this.#text) : null,
        send: (message) => this.#send(message),
      });
  }

  #subscribe() {
    this.#listening = new AbortController();
    const { signal } = this.#listening;
    this.client = connect(this.socketAddress);
    this.client.expect(this.getAttribute("user"));
    this.client.addEventListener("delayed", ({ detail }) => this.#note(detail.ref, detail.body), { signal });
    this.subscription = this.#subscription();
    this.subscription?.addEventListener("message", ({ detail }) => this.#hear(detail));
    this.subscription?.addEventListener("live", () => this.#addBox());
    this.subscription?.addEventListener("lost", () => this.log.divide());
    this.subscription?.addEventListener("moved", () => this.#moved());
    this.subscription?.addEventListener("ended", () => this.#showSkipped());
    this.status.follow(this.client, this.subscription, signal);
  }

  /**
   * From where it had got in the group, or else from where the attributes say. None where the group has no name that could
   * be one: then nothing is read or sent, rather than something else.
   */
  #subscription(before = this.subscription) {
    const name = this.asked;
    const [group] = name.split(":");
    if (![undefined, group].includes(this.#group)) this.#empty();
    this.#group = group;
    try {
      return this.client.subscribe(name, before?.group === group ? before.position : this.places[0]);
    } catch (error) {
      console.error(`<${this.localName}>: ${error.message}`);
    }
  }

  /** It shows another group from now on. */
  #empty() {
    this.#rows.clear();
    this.#answered.clear();
    this.log.clear();
  }

  #unsubscribe() {
    this.#listening?.abort();
    this.subscription?.close();
  }

  #hear(message) {
    const event = new CustomEvent("broadcast-message", { bubbles: true, cancelable: true, composed: true, detail: message });
    if (this.dispatchEvent(event)) this.#show(message, this.#rows.has(message.ref));
    this.#forget(message.ref);
  }

  #moved() {
    this.#keep();
    this.#showSkipped();
  }

  #show(message, isOwn) {
    this.log.add(message, isOwn || (message.source === Source.USER && message.author === this.#reader));
  }

  #send({ body, author }) {
    if (!this.subscription) return this.text("closed");
    if (this.client.user !== undefined && this.client.user !== (this.#reader || null)) return this.text("changed");
    const ref = newRef();
    const source = author ? Source.GUEST : Source.USER;
    this.#rows.set(ref, this.log.expect({ source, author: author ?? this.#reader, body, ref }));
    this.client.send(this.subscription.group, body, { author, ref }).then(
      (message) => this.#sent(message),
      (error) => this.#returned(ref, body, this.#reason(error)),
    );
    return "";
  }

  #sent(message) {
    if (!this.#rows.has(message.ref)) return; // it was heard
    this.#note(message.ref, "");
    this.#answered.set(message.ref, { message, epoch: this.subscription.position.epoch });
    this.#showSkipped();
  }

  /** Shows what was sent from here and will not be heard: it is in a part of the log that this page had to skip. */
  #showSkipped() {
    const { position, isOver } = this.subscription;
    for (const [ref, { message, epoch }] of this.#answered) {
      if (!isOver && epoch === position.epoch && message.offset > position.offset) continue;
      this.#forget(ref);
      this.#show(message, true);
    }
  }

  #reason({ code, message }) {
    if (code === "user_changed") return this.text("changed");
    return code === "closed" ? this.text("refused", message || this.text("closed")) : message;
  }

  #returned(ref, body, reason) {
    if (!this.#rows.has(ref)) return; // the element shows another group by now
    if (!this.composer.isEmpty) return this.#holdBack(ref, reason);
    this.#forget(ref);
    this.composer.restore(body);
    this.composer.say(reason);
  }

  #holdBack(ref, reason) {
    const row = this.#note(ref, reason);
    row.dataset.failed = "";
    row.querySelector("[data-restore]").hidden = false;
    this.#offer(row);
  }

  /** Has the row's button put its text back into the box. */
  #offer(row) {
    row.querySelector("[data-restore]").addEventListener("click", () => {
      this.#forget(row.dataset.ref);
      row.remove();
      this.composer.restore(row.querySelector("[data-body]").textContent);
      this.composer.focus();
    });
  }

  #note(ref, sentence) {
    const row = this.#rows.get(ref);
    if (row) row.querySelector("[data-note]").textContent = sentence;
    return row;
  }

  #forget(ref) {
    this.#rows.get(ref)?.remove();
    this.#rows.delete(ref);
    this.#answered.delete(ref);
  }
}

reflect(Feed, {
  group: String,
  socket: String,
  epoch: String,
  offset: String,
  user: String,
  texts: String,
  shadow: String,
  write: Boolean,
  maxBody: Number,
});
if (!customElements.get("broadcast-feed")) customElements.define("broadcast-feed", Feed);
