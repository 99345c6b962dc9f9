// What the cases stand on: a clock that moves when told, and a server that is played by hand.

const cases = new Map();

export function test(name, act) {
  if (cases.has(name)) throw new Error(`two cases are named “${name}”`);
  cases.set(name, act);
}

export const names = () => [...cases.keys()];

export const run = (name) => cases.get(name)();

export function equal(actual, expected, what = "") {
  const [came, wanted] = [actual, expected].map((value) => JSON.stringify(value));
  if (came !== wanted) throw new Error(`${what} expected ${wanted}; it came as ${came}`.trim());
}

export function ok(truth, what) {
  if (!truth) throw new Error(`expected ${what}`);
}

export const frame = () => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));

/** When promises have told what they had to tell. */
const { setTimeout: browsersTimeout } = globalThis;

export const settled = () => new Promise((resolve) => browsersTimeout(resolve));

/** Lets the page's own scripts see this server and this clock, and meet no chance. */
export function pretend({ server, clock }) {
  const { setTimeout, clearTimeout, now, date } = clock;
  Object.assign(globalThis, { WebSocket: server.WebSocket, setTimeout, clearTimeout });
  Object.assign(performance, { now });
  Date.now = date;
  Math.random = () => 0.5;
}

export class Clock {
  #now = 1_000_000;
  #ahead = 0;
  #timers = new Map();
  #ids = 0;

  now = () => this.#now;

  date = () => this.#now + this.#ahead;

  setTimeout = (act, ms) => {
    this.#timers.set(++this.#ids, { act, at: this.#now + ms });
    return this.#ids;
  };

  clearTimeout = (id) => this.#timers.delete(id);

  get pending() {
    return this.#timers.size;
  }

  pass(ms) {
    const end = this.#now + ms;
    for (let next = this.#next(end); next; next = this.#next(end)) {
      const [id, { act, at }] = next;
      this.#timers.delete(id);
      this.#now = Math.max(this.#now, at);
      act();
    }
    this.#now = end;
  }

  /** The machine sleeps: time passes, and what was due is late. */
  sleep(ms) {
    this.#now += ms;
  }

  /** Somebody sets the clock on the wall, which no timer goes by. */
  set(ms) {
    this.#ahead += ms;
  }

  #next(end) {
    return [...this.#timers].filter(([, { at }]) => at <= end).sort((a, b) => a[1].at - b[1].at || a[0] - b[0])[0];
  }
}

/** The other end: keeps the sockets that were opened, newest last. */
export class Server {
  sockets = [];

  constructor() {
    const server = this;
    this.WebSocket = class {
      sent = [];
      isOpen = false;
      closed = false;

      constructor(url, protocol) {
        this.url = new URL(url);
        this.protocol = protocol;
        server.sockets.push(this);
      }

      send(text) {
        ok(this.isOpen, "an open socket");
        this.sent.push(JSON.parse(text));
      }

      close() {
        this.closed = true;
      }
    };
  }

  get socket() {
    return this.sockets.at(-1);
  }

  /** Answers a `subscribe` as if nothing had happened meanwhile. */
  recover({ group = "broadcast", epoch = "e1", after = 0 } = this.asked.at(-1) ?? {}) {
    this.welcome({ group, epoch, offset: after });
  }

  /** The `subscribe` frames that reached this server's newest socket. */
  get asked() {
    return this.socket.sent.filter(({ type }) => type === "subscribe").map(({ type, ...asked }) => asked);
  }

  /** The messages that reached this server's newest socket, without the pings. */
  get received() {
    return this.socket.sent.filter(({ body }) => body !== undefined);
  }

  open() {
    this.socket.isOpen = true;
    this.socket.onopen?.();
  }

  say(frame) {
    if (!this.socket.isOpen) this.open();
    this.socket.onmessage?.({ data: typeof frame === "string" ? frame : JSON.stringify(frame) });
  }

  welcome(fields = {}) {
    const greeting = { type: "welcome", author: "Server", body: "Welcome!", group: "broadcast", user: null };
    this.say({ ...greeting, epoch: "e1", offset: 0, recovered: true, ping_ms: 25_000, ...fields });
  }

  message(offset, fields = {}) {
    const sent = { type: "message", author: "ann", body: `message ${offset}`, group: "broadcast", offset };
    this.say({ ...sent, sent_at: "2026-03-01T12:00:00+00:00", source: "user", ...fields });
  }

  drop(code = 1006, reason = "") {
    this.socket.isOpen = false;
    this.socket.onclose?.({ code, reason });
  }
}

/** Keeps the details of the events that `target` dispatches. */
export function heard(target, ...types) {
  const events = [];
  for (const type of types) target.addEventListener(type, ({ detail }) => events.push(detail));
  return events;
}
