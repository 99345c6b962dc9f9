/** Says how the connection is: in `data-state` for style sheets, in words for people. */
export class Status {
  #tick;
  #ended = null;

  constructor(feed) {
    this.feed = feed;
    this.sentence = feed.part("status");
    this.countdown = feed.part("countdown");
    this.retry = feed.part("retry");
  }

  follow(client, subscription, signal) {
    Object.assign(this, { client, subscription });
    this.#ended = subscription ? null : "";
    const show = () => this.#show();
    client.addEventListener("state", show, { signal });
    subscription?.addEventListener("live", show, { signal });
    subscription?.addEventListener("ended", ({ detail }) => this.#end(detail.body), { signal });
    this.retry.addEventListener("click", () => client.open(), { signal });
    show();
  }

  close() {
    clearTimeout(this.#tick);
  }

  #end(reason) {
    this.#ended = reason;
    this.#show();
  }

  get #state() {
    if (this.#ended !== null) return "closed";
    const { state } = this.client;
    return state === "live" && !this.subscription.live ? "connecting" : state;
  }

  #show() {
    const state = this.#state;
    const reason = this.#ended ?? this.client.reason ?? "";
    const sentence = this.feed.text(state);
    this.sentence.textContent = state === "closed" && reason ? reason : `${reason} ${sentence}`.trim();
    this.retry.hidden = this.#ended !== null || state === "connecting" || state === "live";
    this.#count();
    this.feed.tell(state, reason);
  }

  // The seconds stand outside the status element: a screen reader should not hear each of them.
  #count() {
    clearTimeout(this.#tick);
    const { retryAt } = this.client;
    if (retryAt == null || this.#ended !== null) return (this.countdown.textContent = "");
    this.countdown.textContent = this.feed.text("seconds", Math.max(0, Math.ceil((retryAt - Date.now()) / 1000)));
    this.#tick = setTimeout(() => this.#count(), 1000);
  }
}
