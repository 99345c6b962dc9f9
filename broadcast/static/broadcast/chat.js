import { Composer } from "./composer.js";
import { Connection } from "./connection.js";
import { MessageLog } from "./log.js";
import { GuestName } from "./name.js";
import { Outbox } from "./outbox.js";
import { Position } from "./position.js";
import { Status } from "./status.js";
import { wakeOnReturn } from "./wake.js";
import { Source } from "./wire.js";

/** The chat: what the template drew, brought to life. */
export class Chat {
  #rows = new Map();
  #ending = new AbortController();

  /**
   * @param {HTMLElement} root carries what the page knows in its `data-` attributes
   * @param {object} [outside] what comes from outside: `WebSocket`, `clock`, `random`, `storage`
   */
  constructor(root, outside = {}) {
    const { group, socket, epoch, offset, user, maxBody, pingMs } = root.dataset;
    this.user = user;
    this.connection = new Connection({
      ...outside,
      url: socketAddress(socket),
      group,
      position: new Position(epoch, offset === "" ? null : Number(offset)),
      pingMs: Number(pingMs),
    });
    this.outbox = new Outbox(this.connection, outside);
    this.status = new Status(root, this.connection, outside);
    this.log = new MessageLog(root);
    const form = root.querySelector("form");
    this.composer =
      form &&
      new Composer(form, {
        maxBody: Number(maxBody),
        name: user ? null : new GuestName(outside),
        send: (message) => this.#send(message),
      });
    this.#listen();
  }

  open() {
    this.connection.open();
    wakeOnReturn(this.connection, this.#ending.signal);
  }

  close() {
    this.#ending.abort();
    this.connection.close();
    this.log.close();
  }

  #listen() {
    this.connection.addEventListener("message", ({ detail }) => this.#show(detail));
    this.connection.addEventListener("lost", () => this.log.divide());
    this.connection.addEventListener("refused", ({ detail }) => detail.ref || this.#say(detail.body));
    this.outbox.addEventListener("delivered", ({ detail }) => this.#delivered(detail));
    this.outbox.addEventListener("delayed", ({ detail: { letter, frame } }) => this.#note(letter, frame.body));
    this.outbox.addEventListener("returned", ({ detail }) => this.#returned(detail));
  }

  #send(message) {
    const { state, reason } = this.connection;
    if (state === "closed") return `Not sent: ${reason || "there is no connection."}`;
    const letter = this.outbox.add(message);
    const author = this.user ? { source: Source.USER, author: this.user } : { source: Source.GUEST };
    this.#rows.set(letter.ref, this.log.expect({ ...author, ...letter }));
    return "";
  }

  #show(frame) {
    const isOwn = this.outbox.has(frame.ref) || (frame.source === Source.USER && frame.author === this.user);
    this.log.add(frame, isOwn);
  }

  #delivered({ letter, frame }) {
    this.#forget(letter);
    // It may be in the part of the log that this page had to skip.
    if (!this.log.has(letter.ref)) this.log.add(frame, true);
  }

  #returned({ letter, frame }) {
    if (!this.composer.isEmpty) return this.#keepFailed(letter, frame.body);
    this.#forget(letter);
    this.composer.restore(letter.body);
    this.#say(frame.body);
  }

  #keepFailed(letter, sentence) {
    const row = this.#note(letter, sentence);
    const restore = row.querySelector("[data-restore]");
    row.dataset.failed = "";
    restore.hidden = false;
    restore.addEventListener("click", () => {
      this.#forget(letter);
      this.composer.restore(letter.body);
      this.composer.focus();
    });
  }

  #note(letter, sentence) {
    const row = this.#rows.get(letter.ref);
    row.querySelector("[data-note]").textContent = sentence;
    return row;
  }

  #forget({ ref }) {
    this.#rows.get(ref).remove();
    this.#rows.delete(ref);
  }

  #say(sentence) {
    this.composer?.say(sentence);
  }
}

function socketAddress(path) {
  const address = new URL(path, location.href);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  return address.href;
}
