import { connect, newRef } from "../client/broadcast.js";
import { Composer } from "./composer.js";
import { form, frame } from "./frame.js";
import { MessageLog } from "./log.js";
import { GuestName } from "./name.js";
import { Source } from "./source.js";
import { Status } from "./status.js";
import { textsOf } from "./texts.js";
import { groupOf } from "../client/wire.js";

/** A group's messages, live, and perhaps a box to write in. */
export class Feed extends HTMLElement {
  /** What was written here and is on its way, by its ref. */
  #rows = new Map();
  /** What is in the log and not heard yet, by its ref: the answer overtook what was missed. */
  #answered = new Map();
  #ending;

  connectedCallback() {
    this.text = textsOf(this);
    if (!this.querySelector("[data-messages]")) this.append(...frame(this.text));
    this.client = connect(this.getAttribute("socket") ?? undefined);
    this.client.expect(this.getAttribute("user"));
    this.log ??= new MessageLog(this, this.text);
    this.log.open();
    this.#adopt();
    this.status ??= new Status(this);
    this.#ending = new AbortController();
    this.#compose();
    this.#addBox();
    this.#subscribe();
    this.client.addEventListener("delayed", ({ detail }) => this.#note(detail.ref, detail.body), {
      signal: this.#ending.signal,
    });
  }

  disconnectedCallback() {
    this.#ending.abort();
    this.log.close();
    this.status.close();
    this.subscription.close();
    this.#keepPlace();
  }

  /** Should it be put back, or a copy of it, that goes on from here. */
  #keepPlace() {
    const { epoch, offset } = this.subscription.position;
    this.setAttribute("epoch", epoch);
    this.setAttribute("offset", offset ?? "");
  }

  /** In a copy, what was on its way is heard like all else, and what came back can be restored. */
  #adopt() {
    for (const row of [...this.log.pending.children].filter(({ dataset }) => !this.#rows.has(dataset.ref))) {
      if (row.hasAttribute("data-failed")) this.#offer(row);
      else row.remove();
    }
  }

  /** The group's own name; `group` may be a signed one. */
  get group() {
    return groupOf(this.getAttribute("group") ?? "broadcast");
  }

  /** Who reads: the name of a user, empty for guests. */
  get user() {
    return this.getAttribute("user") ?? this.client?.user ?? "";
  }

  /** A box that was asked for by hand comes when it is known whose it is. */
  #addBox() {
    const isKnown = this.hasAttribute("user") || this.client.user !== undefined;
    if (!this.hasAttribute("write") || !isKnown || this.querySelector("form")) return;
    this.setAttribute("user", this.user);
    this.append(form(this.text, this.user));
    this.#compose();
  }

  #compose() {
    const form = this.querySelector("form");
    this.composer ??=
      form &&
      new Composer(form, {
        text: this.text,
        maxBody: Number(this.getAttribute("max-body") ?? 4000),
        name: form.elements.author ? new GuestName(this.text) : null,
        send: (message) => this.#send(message),
      });
  }

  #subscribe() {
    const [epoch, offset] = [this.getAttribute("epoch"), this.getAttribute("offset")];
    const position = epoch ? { epoch, offset: Number(offset) } : {};
    this.subscription = this.client.subscribe(this.getAttribute("group") ?? "broadcast", position);
    this.subscription.addEventListener("message", ({ detail }) => this.#hear(detail));
    this.subscription.addEventListener("live", () => this.#addBox());
    this.subscription.addEventListener("lost", () => this.log.divide());
    this.subscription.addEventListener("moved", () => this.#moved());
    this.subscription.addEventListener("ended", () => this.#showSkipped());
    this.status.follow(this.client, this.subscription, this.#ending.signal);
  }

  #hear(message) {
    const event = new CustomEvent("broadcast-message", { bubbles: true, cancelable: true, detail: message });
    if (this.dispatchEvent(event)) this.#show(message, this.#rows.has(message.ref));
    this.#forget(message.ref);
  }

  #moved() {
    this.#keepPlace();
    this.#showSkipped();
  }

  #show(message, isOwn) {
    this.log.add(message, isOwn || (message.source === Source.USER && message.author === this.user));
  }

  #send({ body, author }) {
    if (this.client.user !== undefined && this.client.user !== (this.user || null)) return this.text("changed");
    const ref = newRef();
    const source = author ? Source.GUEST : Source.USER;
    this.#rows.set(ref, this.log.expect({ source, author: author ?? this.user, body, ref }));
    this.client.send(this.group, body, { author, ref }).then(
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
    if (!this.composer.isEmpty) return this.#keep(ref, reason);
    this.#forget(ref);
    this.composer.restore(body);
    this.composer.say(reason);
  }

  #keep(ref, reason) {
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

customElements.define("broadcast-feed", Feed);
