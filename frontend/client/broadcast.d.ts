/** A JSON object, as it comes with a message. */
export type Data = Record<string, unknown>;

/** How far a page has got in a group's log; see `Subscription.position`. */
export interface Position {
  /** The tag of the group's log, within which offsets count; empty where there is no log. */
  readonly epoch: string;
  /** Of the last message that was had; null where there is no log. */
  readonly offset: number | null;
}

/** What someone said. */
export interface Message {
  readonly type: "message";
  readonly author: string;
  /** Text, never markup. */
  readonly body: string;
  readonly group: string;
  /** Its place in the group's log; null if it is in no log. */
  readonly offset: number | null;
  /** ISO 8601, in UTC; null if it is in no log. */
  readonly sent_at: string | null;
  /** The site itself, someone who is signed in, or anyone else. */
  readonly source: "server" | "user" | "guest";
  readonly ref?: string;
  /** The author's name is only claimed. */
  readonly guest?: true;
  readonly data?: Data;
  /** The answer to what was sent from here, and told to nobody else. */
  readonly duplicate?: true;
}

/** A group was joined; it goes on after `offset`. */
export interface Welcome {
  readonly type: "welcome";
  readonly author: string;
  readonly body: string;
  readonly group: string;
  readonly epoch: string;
  readonly offset: number | null;
  readonly recovered: boolean;
  readonly user: string | null;
  readonly ping_ms: number;
}

/** Messages can no longer be had, unless `lost` is false; it goes on after `offset`. */
export interface Reset {
  readonly type: "reset";
  readonly group: string;
  readonly epoch: string;
  readonly offset: number | null;
  readonly reason: string;
  /** False: nothing was missed, and only the epoch is new. */
  readonly lost?: false;
}

/** Something was refused. */
export interface Refusal {
  readonly type: "error";
  readonly author: string;
  /** A sentence for people. */
  readonly body: string;
  readonly code: ServerCode;
  readonly group?: string;
  readonly ref?: string;
  /** Milliseconds. */
  readonly retry_after_ms?: number;
}

export type ServerCode = "invalid" | "too_large" | "forbidden" | "rate_limited" | "unavailable";

export type ClientCode = ServerCode | "closed" | "user_changed" | "undeliverable" | "timeout";

/** Why a message was not sent. */
export class BroadcastError extends Error {
  constructor(code: ClientCode, message: string);
  /**
   * That of the server's error; or `closed`: the client was closed, or the server does not want it back;
   * or `user_changed`: the browser signed in or out before the message left;
   * or `undeliverable`: the connection ended twice when it was written;
   * or `timeout`: it was not answered within the time that it was given.
   */
  readonly code: ClientCode;
}

/** What an `EventTarget` calls: a function, or an object with one. */
export type Listener<Told> = ((event: Told) => void) | { handleEvent(event: Told): void } | null;

/** An `EventTarget` whose events are known. */
export interface Teller<Events> extends Omit<EventTarget, "addEventListener" | "removeEventListener"> {
  addEventListener<Name extends keyof Events>(
    type: Name,
    listener: Listener<Events[Name]>,
    options?: AddEventListenerOptions | boolean,
  ): void;
  removeEventListener<Name extends keyof Events>(
    type: Name,
    listener: Listener<Events[Name]>,
    options?: EventListenerOptions | boolean,
  ): void;
}

export interface SubscriptionEvents {
  /** A message: each one once, in order. */
  message: CustomEvent<Message>;
  /** From now on what is sent arrives at once; also after each reconnection. */
  live: CustomEvent<Welcome>;
  /** Messages were missed that can no longer be had. What follows is complete again. */
  lost: CustomEvent<Welcome | Reset>;
  /** The `position` has changed: after each message and each loss, and where only the epoch is new. */
  moved: CustomEvent<Position>;
  /** The group may not be read, or not any more; nothing follows. */
  ended: CustomEvent<Refusal>;
}

/** One reader of a group. */
export interface Subscription extends Teller<SubscriptionEvents> {
  readonly group: string;
  /** After the last message that this reader was told of. Keep it to go on from there. */
  readonly position: Position;
  /** Whether what is sent now arrives here. */
  readonly live: boolean;
  /** Ends it: no event follows. */
  close(): void;
}

export interface ClientEvents {
  /** The connection's `state` has changed. */
  state: CustomEvent<Client>;
  /** The server is busy: the message with this `ref` is sent again later. */
  delayed: CustomEvent<Refusal>;
}

export interface SendOptions {
  /** A guest's name; "Guest" if left out. Ignored for whoever is signed in. */
  author?: string;
  data?: Data;
  /** The message's UUID, if you want to know it beforehand: one from `newRef()`. */
  ref?: string;
  /**
   * Withdraws the message when it is aborted; the promise rejects with its reason. What was not written to the socket yet
   * is never sent; what was may still arrive. To find out, send it again with the same `ref`: it is in the log once.
   */
  signal?: AbortSignal;
  /** Milliseconds after which the message is withdrawn likewise; the code is `timeout`. Without it there is no end. */
  timeout?: number;
}

/** Everything a page says and hears over one socket. */
export interface Client extends Teller<ClientEvents> {
  readonly state: "connecting" | "live" | "reconnecting" | "closed";
  /** Why it is closed or reconnecting, in the server's words; empty where it said nothing. */
  readonly reason: string;
  /** When it tries again, as `Date.now()` counts; null when it is not waiting. */
  readonly retryAt: number | null;
  /** The user name under which the page speaks; null for guests, undefined until the server (or a feed of the tag) has told. */
  readonly user: string | null | undefined;
  /**
   * Follows a group, by its name or a signed name. With a position, from there on; else from now on.
   * Several subscriptions to one group share one on the wire.
   */
  subscribe(name: string, position?: Partial<Position>): Subscription;
  /**
   * Resolves with the message when it is in the log; rejects with a `BroadcastError`, or with the reason of its `signal`.
   * Waits while there is no link.
   */
  send(group: string, body: string, options?: SendOptions): Promise<Message>;
  /**
   * Tells for whom the page is drawn: a user's name, empty for guests, null if it does not say. Where that is somebody
   * else than before, the browser signed in or out without loading the page anew, and the socket is made anew, once.
   */
  expect(user: string | null): void;
  /** Connects now, rather than at `retryAt`, or again after the server had closed for good. */
  open(): void;
  /** Ends everything; `connect` then makes a new client. */
  close(): void;
}

/** What tests put in the browser's place. */
export interface Outside {
  WebSocket?: new (url: string, protocol: string) => WebSocket;
  clock?: {
    /** Milliseconds that only ever grow, for how long something takes; and since 1970, as `Date.now()` counts. */
    now(): number;
    date(): number;
    setTimeout(act: () => void, ms: number): unknown;
    clearTimeout(timer: unknown): void;
  };
  random?: () => number;
}

/** The page's client of an address, by default `/ws` of this host: the same one for everybody on the page. */
export function connect(address?: string, outside?: Outside): Client;

/** A new UUID, also where the page is no secure context. */
export function newRef(): string;
