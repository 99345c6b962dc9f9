import { browserClock } from "./clock.js";
import { Connection } from "./connection.js";
import { Outbox } from "./outbox.js";
import { newRef } from "./ref.js";
import { Stream } from "./stream.js";
import { Subscription } from "./subscription.js";
import { wakeOnReturn } from "./wake.js";
import { Type, groupOf, passes, socketAddress } from "./wire.js";

const clients = new Map();

/** The page's client of an address: one socket, whoever asks for it. */
// Not in broadcast.js: static files may give that a second, hashed address, and then there would be two of these.
export function connect(address = "/ws", outside) {
  const url = socketAddress(address);
  if (!clients.has(url)) clients.set(url, new Client(url, outside));
  return clients.get(url);
}

/** Everything a page says and hears over one socket. */
export class Client extends EventTarget {
  /** The name under which the page speaks; null for guests, undefined until the server has told. */
  user;

  #url;
  #clock;
  #connection;
  #outbox;
  #streams = new Map();
  #ending = new AbortController();

  constructor(url, { clock = browserClock, ...outside } = {}) {
    super();
    this.#url = url;
    this.#clock = clock;
    this.#outbox = new Outbox((frame) => this.state === "live" && this.#connection.send(frame), clock);
    this.#connection = new Connection({
      ...outside,
      url,
      clock,
      opened: () => this.#opened(),
      received: (frame) => this.#received(frame),
      changed: () => this.#changed(),
    });
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

  subscribe(name, position = {}) {
    const group = groupOf(name);
    const stream = this.#streams.get(group) ?? new Stream(name, (frame) => this.#connection.send(frame), this.#clock);
    this.#streams.set(group, stream);
    if (name !== group) stream.name = name;
    const subscription = new Subscription(group, position, () => this.#leave(subscription, stream));
    stream.add(subscription);
    return subscription;
  }

  send(group, body, { author, data, ref = newRef() } = {}) {
    const sent = this.#outbox.post({ group, body, author, data, ref });
    if (this.state === "closed") this.#giveBack();
    return sent;
  }

  open() {
    this.#connection.open();
  }

  close() {
    clients.delete(this.#url);
    this.#ending.abort();
    this.#streams.clear();
    this.#connection.close();
  }

  #opened() {
    for (const stream of this.#streams.values()) stream.ask();
    this.#greet();
  }

  /** Where no group's welcome will tell that the server is there, it is asked. */
  #greet() {
    if (!this.#streams.size && this.state === "connecting") this.#connection.send({ type: Type.PING });
  }

  #received(frame) {
    const stream = this.#streams.get(frame.group);
    switch (frame.type) {
      case Type.WELCOME:
        this.#meet(frame.user);
        this.#connection.establish(frame.ping_ms);
        return stream?.welcome(frame);
      case Type.MESSAGE:
        if (!frame.duplicate) stream?.message(frame);
        return this.#outbox.deliver(frame);
      case Type.RESET:
        stream?.reset(frame);
        return this.#outbox.transmit();
      case Type.ERROR:
        return frame.ref ? this.#refused(frame) : this.#excluded(frame, stream);
      case Type.PONG:
        if (!this.#streams.size) this.#connection.establish();
    }
  }

  #meet(user) {
    // What waits was written under another name, and the page still shows that one.
    if (this.user !== undefined && this.user !== user) this.#outbox.reject("user_changed", "You are someone else now.");
    this.user = user;
  }

  #refused(frame) {
    this.#outbox.refuse(frame);
    if (passes(frame.code)) this.#tell("delayed", frame);
  }

  #excluded(frame, stream) {
    if (!stream || stream.refuse(frame)) return;
    this.#streams.delete(frame.group);
    for (const subscription of stream.subscriptions) {
      subscription.live = false;
      subscription.tell("ended", frame);
    }
    this.#greet();
  }

  #leave(subscription, stream) {
    stream.subscriptions.delete(subscription);
    if (stream.subscriptions.size || this.#streams.get(subscription.group) !== stream) return;
    stream.pause();
    this.#streams.delete(subscription.group);
    this.#connection.send({ type: Type.UNSUBSCRIBE, group: subscription.group });
    this.#greet();
  }

  #changed() {
    const { state } = this;
    if (state !== "live") for (const stream of this.#streams.values()) stream.pause();
    if (state === "closed") this.#giveBack();
    this.#outbox.transmit();
    this.#tell("state", this);
  }

  #giveBack() {
    this.#outbox.reject("closed", this.reason);
  }

  #tell(event, detail) {
    this.dispatchEvent(new CustomEvent(event, { detail }));
  }
}
