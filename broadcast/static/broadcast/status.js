import { browserClock } from "./clock.js";

const SENTENCES = { connecting: "Connecting…", live: "Live", reconnecting: "Reconnecting", closed: "Disconnected." };

/** Says how the connection is: in `data-state` for style sheets, in words for people. */
export class Status {
  #tick;

  /**
   * @param {HTMLElement} root the chat
   * @param {import("./connection.js").Connection} connection
   * @param {{clock?: import("./clock.js").Clock}} [options]
   */
  constructor(root, connection, { clock = browserClock } = {}) {
    Object.assign(this, { root, connection, clock });
    this.sentence = root.querySelector("[data-status]");
    this.countdown = root.querySelector("[data-countdown]");
    this.retry = root.querySelector("[data-retry]");
    this.retry.addEventListener("click", () => connection.open());
    connection.addEventListener("state", () => this.#show());
  }

  #show() {
    const { state, reason } = this.connection;
    this.root.dataset.state = state;
    this.sentence.textContent = state === "closed" && reason ? reason : `${reason} ${SENTENCES[state]}`.trim();
    this.retry.hidden = state === "connecting" || state === "live";
    this.#count();
  }

  // The seconds stand outside the status element: a screen reader should not hear each of them.
  #count() {
    this.clock.clearTimeout(this.#tick);
    const { retryAt } = this.connection;
    if (retryAt === null) return (this.countdown.textContent = "");
    const seconds = Math.max(0, Math.ceil((retryAt - this.clock.now()) / 1000));
    this.countdown.textContent = `in ${seconds} s`;
    this.#tick = this.clock.setTimeout(() => this.#count(), 1000);
  }
}
