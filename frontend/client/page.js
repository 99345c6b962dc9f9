/**
 * What all scripts of this app on a page have in common, whichever of its files they came in: each is whole, and brings
 * the client library along.
 */
export const page = (globalThis[Symbol.for("django-live-broadcast")] ??= {
  /** By their addresses. @type {Map<string, import("./client.js").Client>} */
  clients: new Map(),
  /** What sends, once a script has brought it along. @type {typeof import("./outbox.js").Outbox | undefined} */
  Outbox: undefined,
  /** The elements that are in the page, in whichever root. @type {Set<HTMLElement>} */
  elements: new Set(),
  /** Announcements that are shown, by the frames they came in: one element of the page has each. @type {WeakSet<object>} */
  shown: new WeakSet(),
  /** What was dismissed here, or had its time, by its key: no copy of the page brings it back. @type {Set<string>} */
  gone: new Set(),
  /** Where the keyboard was before it went to what is announced. @type {HTMLElement | undefined} */
  before: undefined,
});
