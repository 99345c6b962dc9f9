/** Wakes a connection when network, tab or page return; rests it in the back-forward cache, which admits no sockets. */
export function wakeOnReturn(connection, signal) {
  const wake = () => connection.wake();
  addEventListener("online", wake, { signal });
  addEventListener("pageshow", wake, { signal });
  addEventListener("pagehide", () => connection.rest(), { signal });
  document.addEventListener("visibilitychange", () => document.hidden || wake(), { signal });
}
