import { connect } from "./broadcast.js";
import { Composer } from "./composer.js";
import { MessageLog } from "./log.js";
import { GuestName } from "./name.js";
import { newRef } from "./browser.js";
import { Status } from "./status.js";
import { Source } from "./source.js";

/** The chat: what the template drew, brought to life. */
export class Chat {
  #rows = new Map();

  /**
   * @param {HTMLElement} root carries what the page knows in its `data-` attributes
   * @param {object} [outside] what comes from outside: `client`, `clock`, `random`, `storage`
   */
  constructor(root, outside = {}) {
    const { group, socket, epoch, offset, user, maxBody } = root.dataset;
    this.group = group;
    this.user = user;
    this.client = outside.client ?? connect(socket);
    this.subscription = this.client.subscribe(group, { epoch, offset: offset === "" ? null : Number(offset) });
    this.status = new Status(root, this.client, outside);
    this.log = new MessageLog(root);
    const form = root.querySelector("form");
    this.composer =
      form &&
      new Composer(form, {
        maxBody: Number(maxBody),
        name: user ? null : new GuestName(outside),
        send: (message) => this.#send(message),
      });
    this.subscription.addEventListener("message", ({ detail }) => this.#show(detail));
    this.subscription.addEventListener("lost", () => this.log.divide());
    this.subscription.addEventListener("ended", ({ detail }) => this.#say(detail.body));
    this.client.addEventListener("delayed", ({ detail }) => this.#note(detail.ref, detail.body));
  }

  close() {
    this.subscription.close();
    this.status.close();
    this.log.close();
  }

  #send({ body, author }) {
    const { state, reason } = this.client;
    if (state === "closed") return `Not sent: ${reason || "there is no connection."}`;
    const letter = { ref: newRef(), body, author };
    const known = this.user ? { source: Source.USER, author: this.user } : { source: Source.GUEST };
    this.#rows.set(letter.ref, this.log.expect({ ...letter, ...known }));
    this.client.send(this.group, body, letter).then(
      (frame) => this.#delivered(frame),
      (error) => this.#returned(letter, error.message),
    );
    return "";
  }

  #show(frame) {
    const isOwn = this.#rows.has(frame.ref) || (frame.source === Source.USER && frame.author === this.user);
    this.#forget(frame);
    this.log.add(frame, isOwn);
  }

  #delivered(frame) {
    this.#forget(frame);
    // It may be in the part of the log that this page had to skip.
    if (!this.log.has(frame.ref)) this.log.add(frame, true);
  }

  #returned(letter, sentence) {
    if (!this.composer.isEmpty) return this.#keepFailed(letter, sentence);
    this.#forget(letter);
    this.composer.restore(letter.body);
    this.#say(sentence);
  }

  #keepFailed(letter, sentence) {
    const row = this.#note(letter.ref, sentence);
    const restore = row.querySelector("[data-restore]");
    row.dataset.failed = "";
    restore.hidden = false;
    restore.addEventListener("click", () => {
      this.#forget(letter);
      this.composer.restore(letter.body);
      this.composer.focus();
    });
  }

  #note(ref, sentence) {
    const row = this.#rows.get(ref);
    if (row) row.querySelector("[data-note]").textContent = sentence;
    return row;
  }

  #forget({ ref }) {
    this.#rows.get(ref)?.remove();
    this.#rows.delete(ref);
  }

  #say(sentence) {
    this.composer?.say(sentence);
  }
}
