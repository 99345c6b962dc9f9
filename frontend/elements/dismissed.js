/** The cookie in which this browser keeps what was dismissed: `<epoch>:<offset>.<offset>~<epoch>:…`. */
const NAME = "broadcast_dismissed";
const SECONDS = 8 * 86_400;
const MOST_OFFSETS = 30;
const MOST_EPOCHS = 8;
/** By which the tabs of a browser tell each other. */
const CHANNEL = "django-live-broadcast";

/** What the cookie has: the offsets of each epoch as they are written. */
function written() {
  const cookie = document.cookie.split("; ").find((cookie) => cookie.startsWith(`${NAME}=`)) ?? "";
  return new Map(cookie.slice(NAME.length + 1).split("~").map((entry) => entry.split(":")));
}

/** Whether this browser dismissed it, on whichever page. */
export function isDismissed(epoch, offset) {
  return Boolean(written().get(epoch)?.split(".").includes(String(offset)));
}

/**
 * Dismisses one in all tabs of this browser, and on all pages that are to come; with an address, which pages of users have,
 * wherever that user reads.
 */
export function dismiss(one, address) {
  remember(one);
  tell(one);
  if (address) send(address, one);
}

/** Calls back for what is dismissed in another element or tab, until the signal ends it. */
export function onDismissed(act, signal) {
  const channel = new BroadcastChannel(CHANNEL);
  channel.addEventListener("message", ({ data }) => data?.dismissed && act(data.dismissed));
  signal.addEventListener("abort", () => channel.close());
}

function remember({ epoch, offset }) {
  const entries = written();
  const offsets = [...(entries.get(epoch)?.split(".") ?? []), offset].slice(-MOST_OFFSETS);
  entries.delete(epoch);
  const kept = [...entries].filter(([, offsets]) => offsets).slice(1 - MOST_EPOCHS);
  const value = [...kept, [epoch, offsets.join(".")]].map((entry) => entry.join(":")).join("~");
  const secure = location.protocol === "https:" ? "; Secure" : "";
  document.cookie = `${NAME}=${value}; Path=/; Max-Age=${SECONDS}; SameSite=Lax${secure}`;
}

function tell(one) {
  const channel = new BroadcastChannel(CHANNEL);
  channel.postMessage({ dismissed: one });
  channel.close();
}

/** The browser remembers it if this does not arrive. */
function send(address, { epoch, offset, group }) {
  const body = JSON.stringify({ epoch, offset: Number(offset), group });
  const headers = { "Content-Type": "application/json" };
  fetch(address, { method: "POST", body, headers, keepalive: true, credentials: "same-origin" }).catch(() => {});
}
