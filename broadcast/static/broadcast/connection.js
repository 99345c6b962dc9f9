import { Backoff } from "./backoff.js";
import { browserClock } from "./clock.js";
import { Monitor } from "./monitor.js";
import { Position } from "./position.js";
import { SUBPROTOCOL, Type, isFinal, parse, resumeAddress } from "./wire.js";

/** A connection that lived this long was a good one: the next back-off begins anew. */
const STEADY_MS = 5_000;

/**
 * A link to the server that comes back by itself and resumes where it was.
 *
 * Events, each with its `detail`:
 * - `state`: the connection, whose `state` has changed
 * - `message`: a `message` frame, each one once and in order
 * - `acknowledged`: a `message` frame with a `ref`, also one that was passed before
 * - `lost`: the `welcome` or `reset` frame that says that messages can no longer be had
 * - `refused`: an `error` frame
 */
export class Connection extends EventTarget {
  /** @type {"closed" | "connecting" | "live" | "reconnecting"} */
  state = "closed";
  /** Why it is closed or reconnecting; empty where nobody said. */
  reason = "";
  /** When it will try again, on the clock's time; null when it is not waiting. @type {?number} */
  retryAt = null;

  #socket = null;
  #positions = new Map();
  #liveSince = null;
  #notBefore = 0;
  #user;
  #retry;

  /**
   * @param {object} options
   * @param {string} options.url absolute, `ws:` or `wss:`
   * @param {string} options.group the group that the address joins
   * @param {Position} [options.position] from where on to be told; by default from the moment of joining
   * @param {number} [options.pingMs] until the server says otherwise
   * @param {typeof WebSocket} [options.WebSocket]
   * @param {import("./clock.js").Clock} [options.clock]
   * @param {() => number} [options.random]
   */
  constructor({ url, group, position, pingMs, WebSocket = globalThis.WebSocket, clock = browserClock, random }) {
    super();
    Object.assign(this, { url, group, clock, WebSocket });
    this.#positions.set(group, position ?? new Position());
    this.backoff = new Backoff({ random });
    this.monitor = new Monitor({
      pingMs,
      clock,
      ping: () => this.send({ type: Type.PING }),
      stale: () => this.#drop({ reason: "The connection went silent." }),
    });
  }

  /** Connects at once, unless it is connected or connecting. */
  open() {
    if (this.#socket) return;
    this.clock.clearTimeout(this.#retry);
    const socket = new this.WebSocket(resumeAddress(this.url, this.position()), SUBPROTOCOL);
    socket.onmessage = ({ data }) => this.#receive(data);
    socket.onclose = ({ code, reason }) => this.#drop({ reason, comesBack: !isFinal(code) });
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

  /** The network or the reader is back: makes sure of the link, or tries again now if the server did not ask to wait. */
  wake() {
    if (this.state === "live") this.monitor.probe();
    if (this.state === "reconnecting" && this.clock.now() >= this.#notBefore) this.open();
  }

  /**
   * Hands one frame to a live link; false when there is none. True does not say that it arrived.
   *
   * @param {object} frame
   */
  send(frame) {
    if (this.state !== "live") return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  /** How far it has got in a group. @returns {Position} */
  position(group = this.group) {
    if (!this.#positions.has(group)) this.#positions.set(group, new Position());
    return this.#positions.get(group);
  }

  #receive(text) {
    this.monitor.alive();
    const frame = parse(text);
    switch (frame?.type) {
      case Type.WELCOME:
        return this.#welcome(frame);
      case Type.MESSAGE:
        return this.#message(frame);
      case Type.RESET:
        this.position(frame.group).moveTo(frame.epoch, frame.offset);
        return this.#tell("lost", frame);
      case Type.ERROR:
        return this.#tell("refused", frame);
      case Type.BYE:
        return this.#drop({
          reason: frame.reason,
          comesBack: frame.reconnect ?? !isFinal(frame.code),
          afterMs: frame.after_ms,
        });
    }
  }

  #welcome(frame) {
    // What waits was written under another name, and the page still shows that one.
    if (this.#user !== undefined && frame.user !== this.#user) {
      return this.#drop({ reason: "You have signed in or out meanwhile. Reload the page to go on.", comesBack: false });
    }
    this.#user = frame.user;
    const position = this.position(frame.group);
    const missed = position.isKnown && !frame.recovered;
    position.moveTo(frame.epoch, frame.offset);
    if (frame.ping_ms > 0) this.monitor.pingMs = frame.ping_ms;
    if (missed) this.#tell("lost", frame);
    if (this.state === "live") return;
    this.#liveSince = this.clock.now();
    this.#become("live");
  }

  #message(frame) {
    const isNew = !frame.duplicate && this.position(frame.group).advance(frame.offset);
    if (isNew) this.#tell("message", frame);
    if (frame.ref) this.#tell("acknowledged", frame);
  }

  #drop({ reason = "", comesBack = true, afterMs = 0 }) {
    this.#release();
    if (!comesBack) return this.#become("closed", reason);
    if (this.#liveSince !== null && this.clock.now() - this.#liveSince >= STEADY_MS) this.backoff.reset();
    this.#liveSince = null;
    this.#notBefore = this.clock.now() + afterMs;
    const waitMs = afterMs + this.backoff.next();
    this.#retry = this.clock.setTimeout(() => this.open(), waitMs);
    this.#become("reconnecting", reason, this.clock.now() + waitMs);
  }

  /** Lets go of the socket without waiting for its close: on a dead link that takes a minute or more. */
  #release() {
    this.monitor.stop();
    if (!this.#socket) return;
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
    this.#socket = null;
  }

  #become(state, reason = "", retryAt = null) {
    Object.assign(this, { state, reason, retryAt });
    this.#tell("state", this);
  }

  #tell(event, detail) {
    this.dispatchEvent(new CustomEvent(event, { detail }));
  }
}
