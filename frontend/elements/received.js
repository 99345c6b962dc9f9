/**
 * What was read: up to which offset of each epoch. Of users their account keeps it, of guests this browser, in a cookie:
 * `<epoch>:<offset>~<epoch>:<offset>`.
 */
const NAME = "broadcast_read";
const SECONDS = 31 * 86_400;
const MOST_EPOCHS = 8;
/** By which the tabs of a browser tell each other. */
const CHANNEL = "django-live-broadcast";

/** Up to where this browser's guest has read in an epoch. */
export function readUpTo(epoch) {
  return Number(written().get(epoch) ?? 0);
}

/** Marks what is up to these places as read, in all tabs; with an address, which pages of users have, by account. */
export function markRead(places, address) {
  if (!places.length) return;
  if (address) send(address, places);
  else remember(places);
  const channel = new BroadcastChannel(CHANNEL);
  channel.postMessage({ read: places });
  channel.close();
}

/** Calls back with the places up to which another element or tab has marked as read, until the signal ends it. */
export function onRead(act, signal) {
  const channel = new BroadcastChannel(CHANNEL);
  channel.addEventListener("message", ({ data }) => data?.read && act(data.read));
  signal.addEventListener("abort", () => channel.close());
}

function written() {
  const cookie = document.cookie.split("; ").find((cookie) => cookie.startsWith(`${NAME}=`)) ?? "";
  return new Map(cookie.slice(NAME.length + 1).split("~").map((entry) => entry.split(":")));
}

function remember(places) {
  const entries = written();
  for (const { epoch, offset } of places) {
    const furthest = Math.max(offset, Number(entries.get(epoch) ?? 0));
    entries.delete(epoch);
    entries.set(epoch, furthest);
  }
  const kept = [...entries].filter(([, offset]) => offset > 0).slice(-MOST_EPOCHS);
  const secure = location.protocol === "https:" ? "; Secure" : "";
  const value = kept.map((entry) => entry.join(":")).join("~");
  document.cookie = `${NAME}=${value}; Path=/; Max-Age=${SECONDS}; SameSite=Lax${secure}`;
}

function send(address, groups) {
  const headers = { "Content-Type": "application/json" };
  const body = JSON.stringify({ groups });
  fetch(address, { method: "POST", body, headers, keepalive: true, credentials: "same-origin" }).catch(() => {});
}
