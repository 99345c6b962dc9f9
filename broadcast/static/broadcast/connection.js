import { Backoff } from "./backoff.js";
import { Monitor } from "./monitor.js";
import { SUBPROTOCOL, Type, isFinal, parse } from "./wire.js";

/** A connection that lived this long was a good one: the next back-off begins anew. */
const STEADY_MS = 5_000;

/** A socket that comes back by itself. It tells `opened()`, `received(frame)` and `changed()`. */
export class Connection {
  state = "closed";
  /** Why it is closed or reconnecting; empty where nobody said. */
  reason = "";
  /** When it will try again, on the clock's time; null when it is not waiting. */
  retryAt = null;

  #socket = null;
  #isOpen = false;
  #liveSince = null;
  #notBefore = 0;
  #retry;

  constructor({ url, opened, received, changed, WebSocket = globalThis.WebSocket, clock, random }) {
    Object.assign(this, { url, opened, received, changed, WebSocket, clock });
    this.backoff = new Backoff({ random });
    this.monitor = new Monitor({
      clock,
      ping: () => this.send({ type: Type.PING }),
      stale: () => this.#drop({}),
    });
  }

  /** Connects at once, unless it is connected or connecting. */
  open() {
    if (this.#socket) return;
    this.clock.clearTimeout(this.#retry);
    const socket = new this.WebSocket(this.url, SUBPROTOCOL);
    socket.onopen = () => {
      this.#isOpen = true;
      this.opened();
    };
    socket.onmessage = ({ data }) => this.#receive(parse(data));
    socket.onclose = ({ code, reason }) => this.#drop({ code, reason });
    this.#socket = socket;
    this.monitor.start();
    this.#become("connecting");
  }

  /** Disconnects and stays away until `open`. */
  close() {
    this.clock.clearTimeout(this.#retry);
    this.#release();
    this.#become("closed");
  }

  /** The server lets us in, and asks for a ping after a silence of `pingMs`. */
  establish(pingMs) {
    if (pingMs > 0) this.monitor.pingMs = pingMs;
    if (this.state === "live") return;
    this.#liveSince = this.clock.now();
    this.#become("live");
  }

  /** The network or the reader is back: makes sure of the link, or tries again now if the server did not ask to wait. */
  wake() {
    if (this.#isOpen) this.monitor.probe();
    if (this.state === "reconnecting" && this.clock.now() >= this.#notBefore) this.open();
  }

  /** The page goes out of sight for good, or until `wake`. */
  rest() {
    if (this.#socket) this.#drop({});
  }

  /** Hands one frame to an open socket; false when there is none. True does not say that it arrived. */
  send(frame) {
    if (this.#isOpen) this.#socket.send(JSON.stringify(frame));
    return this.#isOpen;
  }

  #receive(frame) {
    this.monitor.alive();
    if (frame.type !== Type.BYE) return this.received(frame);
    this.#drop({ ...frame, comesBack: frame.reconnect, afterMs: frame.after_ms });
  }

  #drop({ code, reason = "", comesBack = !isFinal(code), afterMs }) {
    this.#release();
    if (!comesBack) return this.#become("closed", reason);
    const now = this.clock.now();
    if (this.#liveSince !== null && now - this.#liveSince >= STEADY_MS) this.backoff.reset();
    this.#liveSince = null;
    this.#notBefore = now + (afterMs ?? 0);
    const retryAt = this.#notBefore + this.backoff.next();
    this.#retry = this.clock.setTimeout(() => this.open(), retryAt - now);
    this.#become("reconnecting", reason, retryAt);
  }

  /** Lets go of the socket without waiting for its close: on a dead link that takes a minute or more. */
  #release() {
    this.monitor.stop();
    this.#isOpen = false;
    if (!this.#socket) return;
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
    this.#socket = null;
  }

  #become(state, reason = "", retryAt = null) {
    Object.assign(this, { state, reason, retryAt });
    this.changed();
  }
}
