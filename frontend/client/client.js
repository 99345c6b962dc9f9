import { browserClock, wakeOnReturn } from "./browser.js";
import { Connection } from "./connection.js";
import { page } from "./page.js";
import { Stream } from "./stream.js";
import { Subscription } from "./subscription.js";
import { Type, groupOf, passes, socketAddress } from "./wire.js";

/** The page's client of an address: the same one for all who ask. */
export function connect(address = "/ws", outside) {
  const url = socketAddress(address);
  if (!page.clients.has(url)) page.clients.set(url, new Client(url, outside));
  return page.clients.get(url);
}

/**
 * Everything a page says and hears over one socket. An element that only listens does not bring along what it takes to
 * send: the script that sends does (broadcast.js), whichever of them made the client.
 */
export class Client extends EventTarget {
  user;
  #clock;
  #connection;
  #outbox;
  #streams = new Map();
  #ending = new AbortController();

  constructor(url, { clock = browserClock, ...outside } = {}) {
    super();
    const tell = {
      opened: () => this.#opened(),
      received: (frame) => this.#received(frame, this.#streams.get(frame.group)),
      ended: (how, isCut) => this.#outbox?.disconnect(how, isCut),
      changed: () => this.#changed(),
    };
    this.#clock = clock;
    this.#connection = new Connection(url, tell, { clock, ...outside });
    wakeOnReturn(this.#connection, this.#ending.signal);
    this.open();
  }

  get state() {
    return this.#connection.state;
  }

  get reason() {
    return this.#connection.reason;
  }

  get retryAt() {
    return this.#connection.retryAt;
  }

  subscribe(name, position) {
    const group = groupOf(name);
    const stream = this.#streams.get(group) ?? new Stream(group, (frame) => this.#connection.send(frame), this.#clock);
    const subscription = new Subscription(name, position, () => this.#leave(subscription, stream));
    this.#streams.set(group, stream);
    stream.subscriptions.add(subscription);
    stream.ask();
    return subscription;
  }

  /**
   * The page was made for this user (empty: a guest; null: it does not say). What is written before the server tells is
   * meant to be theirs. A socket of somebody else's is made anew, once: then the server's word counts.
   */
  expect(user) {
    if (user === null) return;
    const isAnother = ![undefined, user || null].includes(this.user);
    this.#meet(user || null);
    if (isAnother && !this.#ending.signal.aborted) this.#connection.renew();
  }

  send(group, body, options) {
    this.#outbox ??= new page.Outbox((frame) => this.state === "live" && this.#connection.send(frame), this.#clock);
    const sent = this.#outbox.post(group, body, options);
    if (this.state === "closed") this.#giveBack();
    return sent;
  }

  open() {
    this.#connection.open();
  }

  close() {
    page.clients.delete(this.#connection.url);
    this.#ending.abort();
    this.#connection.close();
    this.#streams.clear();
  }

  #opened() {
    for (const [group, stream] of this.#streams) {
      this.#drop(group, stream);
      stream.ask();
    }
    this.#greet();
  }

  /** Asks whether the server is there, if no group's welcome will tell. */
  #greet() {
    if (!this.#streams.size && this.state === "connecting") this.#connection.send({ type: Type.PING });
  }

  #received(frame, stream) {
    switch (frame.type) {
      case Type.WELCOME:
        this.#meet(frame.user);
        this.#connection.establish(frame.ping_ms);
        stream?.welcome(frame);
        return stream && this.#drop(frame.group, stream);
      case Type.MESSAGE:
        if (!frame.duplicate) stream?.message(frame);
        return this.#outbox?.deliver(frame);
      case Type.RESET:
        stream?.reset(frame);
        return this.#outbox?.transmit(); // the answer may be in the part that was skipped
      case Type.ERROR:
        if (frame.ref || frame.code === "too_large") return this.#refused(frame);
        return stream && this.#excluded(frame, stream);
      case Type.PONG:
        if (!this.#streams.size) this.#connection.establish();
    }
  }

  /** What waits was written under another name: it is not sent under this one. */
  #meet(user) {
    if (![undefined, user].includes(this.user)) this.#outbox?.reject("user_changed", `You are ${user ?? "a guest"} now.`);
    this.user = user;
  }

  #refused(frame) {
    this.#outbox?.refuse(frame);
    if (passes(frame.code)) this.#tell("delayed", frame);
  }

  #excluded(frame, stream) {
    const ended = stream.refuse(frame);
    this.#drop(frame.group, stream);
    for (const subscription of ended) subscription.end(frame);
    this.#greet();
  }

  #drop(group, stream) {
    if (!stream.subscriptions.size) this.#streams.delete(group);
  }

  #leave(subscription, stream) {
    const { group } = subscription;
    Object.assign(subscription, { live: false, isOver: true });
    stream.subscriptions.delete(subscription);
    if (stream.subscriptions.size || this.#streams.get(group) !== stream) return;
    this.#connection.send({ type: Type.UNSUBSCRIBE, group });
    if (!stream.isAsking) this.#streams.delete(group); // else its answer is to come, and is nobody's
    this.#greet();
  }

  #changed() {
    if (this.state !== "live") for (const stream of this.#streams.values()) stream.pause();
    if (this.state === "closed") this.#giveBack();
    this.#outbox?.transmit();
    this.#tell("state", this);
  }

  #giveBack() {
    this.#outbox?.reject("closed", this.reason);
  }

  #tell(event, detail) {
    this.dispatchEvent(new CustomEvent(event, { detail }));
  }
}
