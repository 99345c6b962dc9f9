import { browserClock } from "./browser.js";

const SENTENCES = { connecting: "Connecting…", live: "Live", reconnecting: "Reconnecting", closed: "Disconnected." };

/** Says how the connection is: in `data-state` for style sheets, in words for people. */
export class Status {
  #tick;
  #ending = new AbortController();

  /**
   * @param {HTMLElement} root the chat
   * @param {import("./broadcast.js").Client} client
   * @param {{clock?: import("./browser.js").Clock}} [options]
   */
  constructor(root, client, { clock = browserClock } = {}) {
    Object.assign(this, { root, client, clock });
    this.sentence = root.querySelector("[data-status]");
    this.countdown = root.querySelector("[data-countdown]");
    this.retry = root.querySelector("[data-retry]");
    const { signal } = this.#ending;
    this.retry.addEventListener("click", () => client.open(), { signal });
    client.addEventListener("state", () => this.#show(), { signal });
    this.#show();
  }

  close() {
    this.clock.clearTimeout(this.#tick);
    this.#ending.abort();
  }

  #show() {
    const { state, reason } = this.client;
    this.root.dataset.state = state;
    this.sentence.textContent = state === "closed" && reason ? reason : `${reason} ${SENTENCES[state]}`.trim();
    this.retry.hidden = state === "connecting" || state === "live";
    this.#count();
  }

  // The seconds stand outside the status element: a screen reader should not hear each of them.
  #count() {
    this.clock.clearTimeout(this.#tick);
    const { retryAt } = this.client;
    if (retryAt === null) return (this.countdown.textContent = "");
    const seconds = Math.max(0, Math.ceil((retryAt - this.clock.now()) / 1000));
    this.countdown.textContent = `in ${seconds} s`;
    this.#tick = this.clock.setTimeout(() => this.#count(), 1000);
  }
}
