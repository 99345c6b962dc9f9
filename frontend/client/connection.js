import { Monitor } from "./monitor.js";
import { SUBPROTOCOLS, Type, isFinal, parse } from "./wire.js";

const FIRST_MS = 500;
const LONGEST_MS = 30_000;
/** A link that lived this long was a good one: waits begin anew. */
const STEADY_MS = 5_000;

/** A socket that comes back by itself. */
export class Connection {
  state = "closed";
  reason = "";

  #socket = null;
  #isOpen = false;
  #liveSince = Infinity;
  #attempts = 0;
  #notBefore = -Infinity;
  #dueAt = null;
  #retry;

  constructor(url, tell, { clock, WebSocket = globalThis.WebSocket, random = Math.random }) {
    Object.assign(this, { url, tell, clock, WebSocket, random });
    this.monitor = new Monitor({
      clock,
      ping: () => this.send({ type: Type.PING }),
      stale: () => this.#drop({}),
    });
  }

  /** When it tries again, as the clock on the wall has it by now. */
  get retryAt() {
    return this.#dueAt === null ? null : this.clock.date() + this.#dueAt - this.clock.now();
  }

  open() {
    if (this.#socket) return;
    this.clock.clearTimeout(this.#retry);
    const socket = (this.#socket = new this.WebSocket(this.url, SUBPROTOCOLS));
    socket.onopen = () => {
      this.#isOpen = true;
      this.tell.opened();
    };
    socket.onmessage = ({ data }) => {
      for (const frame of parse(data)) {
        if (this.#socket === socket) this.#receive(frame);
      }
    };
    socket.onclose = (event) => this.#drop(event, true);
    this.monitor.start();
    this.#become("connecting");
  }

  close() {
    this.#release();
    this.#become("closed");
  }

  /** The server lets us in. */
  establish(pingMs) {
    if (pingMs > 0) this.monitor.pingMs = pingMs;
    if (this.state === "live") return;
    this.#liveSince = this.clock.now();
    this.#become("live");
  }

  /** Makes sure of the link, or tries again now unless the server asked to wait. */
  wake() {
    if (this.#isOpen) this.monitor.probe();
    if (this.state === "reconnecting" && this.clock.now() >= this.#notBefore) this.open();
  }

  /** The browser says that there is no network: believes the link no longer than it takes to ask. */
  doubt() {
    if (this.#isOpen) this.monitor.doubt();
  }

  /**
   * Makes the link anew, and at once: this one speaks for somebody else. That is no attempt that failed. Where there is
   * none, because the server asked to wait, it goes on waiting.
   */
  renew() {
    if (!this.#socket && this.clock.now() < this.#notBefore) return;
    this.#release();
    this.tell.ended({});
    this.open();
  }

  rest() {
    if (this.#socket) this.#drop({});
  }

  /** Whether there was a link to send it by; not whether it arrived. */
  send(frame) {
    if (this.#isOpen) this.#socket.send(JSON.stringify(frame));
    return this.#isOpen;
  }

  #receive(frame) {
    this.monitor.alive();
    if (frame.type === Type.BYE) this.#drop(frame);
    else this.tell.received(frame);
  }

  /** Ends the connection by what says how: a `bye`, a close event, or nothing. */
  #drop(how, isCut = false) {
    const { code, reason, reconnect = !isFinal(code), after_ms } = how;
    this.#release();
    this.tell.ended(how, isCut);
    if (!reconnect) return this.#become("closed", reason);
    const now = this.clock.now();
    this.#notBefore = now + (after_ms ?? 0);
    const ceiling = Math.min(LONGEST_MS, FIRST_MS * 2 ** this.#attempts++);
    const dueAt = this.#notBefore + this.random() * ceiling;
    this.#retry = this.clock.setTimeout(() => this.open(), dueAt - now);
    this.#become("reconnecting", reason, dueAt);
  }

  /** Does not wait for the close: on a dead link that takes a minute. */
  #release() {
    this.clock.clearTimeout(this.#retry);
    this.monitor.stop();
    if (this.clock.now() - this.#liveSince >= STEADY_MS) this.#attempts = 0;
    this.#liveSince = Infinity;
    const socket = this.#socket;
    this.#socket = null;
    this.#isOpen = false;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  #become(state, reason = "", dueAt = null) {
    Object.assign(this, { state, reason });
    this.#dueAt = dueAt;
    this.tell.changed();
  }
}
