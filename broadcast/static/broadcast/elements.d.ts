/** The elements, for TypeScript. They are defined by importing their scripts. */
import type { Message } from "./broadcast.js";

/** How the connection is. */
export interface BroadcastState {
  readonly state: "connecting" | "live" | "reconnecting" | "closed";
  /** In the server's words; empty where it said nothing. */
  readonly reason: string;
}

/** Bubbles from the element that heard it; `preventDefault()` keeps the message from being shown. */
export type BroadcastMessageEvent = CustomEvent<Message>;
export type BroadcastStateEvent = CustomEvent<BroadcastState>;

/** A property that is an attribute: null and undefined take that away. */
type Text = string | null | undefined;
type Amount = number | string | null | undefined;

/** Sentences in another language than English, by their names: as JSON, or as an object. */
export type Texts = Record<string, string>;

/** What all elements have. Each property is the attribute of its name. */
export interface BroadcastElement extends HTMLElement {
  /** A group's name or a signed one; of announcements several, with spaces between. Set to nothing it is none at all. */
  get group(): string;
  set group(value: Text);
  /** The socket's address; `/ws` if left out. */
  get socket(): string;
  set socket(value: Text);
  /** The position from which it goes on, with `offset`: for each group one. */
  get epoch(): string;
  set epoch(value: Text);
  get offset(): string;
  set offset(value: Amount);
  /** For whom the page is drawn: a user's name, empty for guests. */
  get user(): string;
  set user(value: Text);
  get texts(): string;
  set texts(value: Texts | Text);
  /** `none` leaves what is drawn in the page's own tree. It counts when the element is made. */
  get shadow(): string;
  set shadow(value: "none" | "" | null | undefined);
}

export type Level = "info" | "success" | "warning" | "error";
export type Position = "top-start" | "top" | "top-end" | "bottom-start" | "bottom" | "bottom-end";

/** Something that the page itself has to say. */
export interface Announcement {
  body: string;
  level?: Level;
  title?: string;
  /** Where it leads. */
  url?: string;
  /** Seconds until it goes away; 0: never by itself. */
  timeout?: number;
}

/** `<broadcast-announcements>`: what the site says, as toasts or a banner. */
export interface BroadcastAnnouncementsElement extends BroadcastElement {
  get as(): string;
  set as(value: "banner" | "toasts" | null | undefined);
  get position(): string;
  set position(value: Position | null | undefined);
  /** Seconds until one goes away that does not say it itself; null: the default. */
  get timeout(): number | null;
  set timeout(value: Amount);
  /** How many are shown at a time; null: the default. */
  get max(): number | null;
  set max(value: Amount);
  /** Shows something of the page's own among them. Nobody else sees it, and it is gone with the page. */
  show(announcement: Announcement): { dismiss(): void };
}

/** `<broadcast-feed>`: a group's messages, live, and perhaps a box to write in. */
export interface BroadcastFeedElement extends BroadcastElement {
  /** Whether there is a box to write in. */
  get write(): boolean;
  set write(value: boolean | "" | null | undefined);
  /** How many characters a message may have; null: the default. The attribute is `max-body`. */
  get maxBody(): number | null;
  set maxBody(value: Amount);
}

/** `<broadcast-bell>`: how much is new, and the list of it. */
export interface BroadcastBellElement extends BroadcastElement {
  /** The group of the reader's own, in which everything counts; empty for guests. */
  get own(): string;
  set own(value: string | null | undefined);
  /** Whether the reader's own group is asked for too. */
  get personal(): boolean;
  set personal(value: boolean | "" | null | undefined);
  /** The address that is asked what is new; empty where the app's addresses are not mounted. */
  get url(): string;
  set url(value: string | null | undefined);
  /** How many the list has; null: the default. */
  get limit(): number | null;
  set limit(value: Amount);
  /** How many are new. */
  readonly unread: number | null;
}

declare global {
  interface HTMLElementTagNameMap {
    "broadcast-announcements": BroadcastAnnouncementsElement;
    "broadcast-feed": BroadcastFeedElement;
    "broadcast-bell": BroadcastBellElement;
  }

  /** Of elements, the document and the window. */
  interface GlobalEventHandlersEventMap {
    "broadcast-message": BroadcastMessageEvent;
    "broadcast-state": BroadcastStateEvent;
  }
}
