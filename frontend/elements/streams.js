import { connect } from "../client/client.js";

/** The groups that an element follows, of which its attribute has several names, each from its own position. */
export class Streams {
  #subscriptions = [];
  #listening;

  /** `hear(frame, subscription)` is told what comes, `moved()` that positions have changed. */
  constructor(element, { hear, moved }) {
    Object.assign(this, { element, hear, moved });
  }

  /** The names that the element asks for. */
  get names() {
    return this.element.asked.split(" ").filter(Boolean);
  }

  /** Whether it follows the group of a name. */
  has(name) {
    return this.#subscriptions.some(({ group }) => group === plain(name));
  }

  /** Where each of them stands. */
  get positions() {
    return this.#subscriptions.map(({ position }) => position);
  }

  /** Where it stands in each group, for the server; not where that is unknown, or the group has never had a message. */
  get places() {
    const known = this.#subscriptions.filter(({ position: { epoch, offset } }) => epoch && epoch !== "void" && offset !== null);
    return known.map(({ name, position }) => ({ group: name, ...position }));
  }

  /** Goes on in each group from where it had got there, or else from where the attributes say. */
  open() {
    const { element, names } = this;
    const { places } = element;
    const before = new Map(this.#subscriptions.map(({ group, position }) => [group, position]));
    this.#listening = new AbortController();
    this.#subscriptions = [];
    if (!names.length) return element.tell("closed", "");
    const { signal } = this.#listening;
    const client = connect(element.socketAddress);
    client.expect(element.getAttribute("user"));
    this.#subscriptions = names.flatMap((name, i) => this.#subscribed(client, name, before.get(plain(name)) ?? places[i]) ?? []);
    const tell = () => this.#tell(client);
    client.addEventListener("state", tell, { signal });
    for (const one of this.#subscriptions) for (const event of ["live", "ended"]) one.addEventListener(event, tell, { signal });
    tell();
  }

  close() {
    this.#listening?.abort();
    for (const subscription of this.#subscriptions) subscription.close();
  }

  #subscribed(client, name, position) {
    try {
      const subscription = client.subscribe(name, position);
      subscription.addEventListener("message", ({ detail }) => this.hear(detail, subscription));
      subscription.addEventListener("moved", () => this.moved());
      return subscription;
    } catch (error) {
      console.error(`<${this.element.localName}>: ${error.message}`);
    }
  }

  #tell(client) {
    const followed = this.#subscriptions.filter(({ isOver }) => !isOver);
    const isWaiting = client.state === "live" && followed.some(({ live }) => !live);
    this.element.tell(!followed.length ? "closed" : isWaiting ? "connecting" : client.state, client.reason);
  }
}

/** The group of a name, which may be a signed one. */
const plain = (name) => name.split(":")[0];
