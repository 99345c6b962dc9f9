/**
 * Wakes a connection when the network returns, the tab is looked at again, or the page comes back from the
 * browser's back-forward cache.
 *
 * @param {import("./connection.js").Connection} connection
 * @param {AbortSignal} signal ends it
 */
export function wakeOnReturn(connection, signal) {
  const wake = () => connection.wake();
  addEventListener("online", wake, { signal });
  addEventListener("pageshow", wake, { signal });
  document.addEventListener("visibilitychange", () => document.hidden || wake(), { signal });
}
