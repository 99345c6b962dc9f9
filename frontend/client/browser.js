/** Tests put a clock of their own in its place. How long something takes goes by `now`: `date` may be set meanwhile. */
export const browserClock = {
  now: () => performance.now(),
  date: () => Date.now(),
  setTimeout: (act, ms) => setTimeout(act, ms),
  clearTimeout: (timer) => clearTimeout(timer),
};

/** A new UUID. `crypto.randomUUID` is missing where the page is no secure context. */
export function newRef() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hyphenated(hex);
}

/** A UUID as the server writes it, and answers with; what is none stays as it is, for the server to refuse. */
export function canonical(ref) {
  const hex = String(ref).toLowerCase().replace(/^urn:uuid:|[{}-]/g, "");
  return /^[0-9a-f]{32}$/.test(hex) ? hyphenated(hex) : ref;
}

const hyphenated = (hex) => hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");

/**
 * Wakes a connection when network, tab or page return, and has it ask when the network goes; the back-forward cache
 * takes no page with an open one.
 */
export function wakeOnReturn(connection, signal) {
  const wake = () => connection.wake();
  addEventListener("online", wake, { signal });
  addEventListener("offline", () => connection.doubt(), { signal });
  addEventListener("pageshow", wake, { signal });
  addEventListener("visibilitychange", () => document.hidden || wake(), { signal });
  addEventListener("pagehide", () => connection.rest(), { signal });
}
