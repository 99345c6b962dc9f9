/** The cookie in which this browser keeps what was dismissed: `<epoch>:<offset>.<offset>~<epoch>:…`. */
const NAME = "broadcast_dismissed";
const SECONDS = 8 * 86_400;
const MOST_OFFSETS = 30;
const MOST_EPOCHS = 8;

/** What the cookie has: the offsets of each epoch as they are written. */
function written() {
  const cookie = document.cookie.split("; ").find((cookie) => cookie.startsWith(`${NAME}=`)) ?? "";
  return new Map(cookie.slice(NAME.length + 1).split("~").map((entry) => entry.split(":")));
}

/** Whether this browser dismissed it, on whichever page. */
export function isDismissed(epoch, offset) {
  return Boolean(written().get(epoch)?.split(".").includes(String(offset)));
}

export function dismiss(epoch, offset) {
  const entries = written();
  const offsets = [...(entries.get(epoch)?.split(".") ?? []), offset].slice(-MOST_OFFSETS);
  entries.delete(epoch);
  const kept = [...entries].filter(([, offsets]) => offsets).slice(1 - MOST_EPOCHS);
  const value = [...kept, [epoch, offsets.join(".")]].map((entry) => entry.join(":")).join("~");
  const secure = location.protocol === "https:" ? "; Secure" : "";
  document.cookie = `${NAME}=${value}; Path=/; Max-Age=${SECONDS}; SameSite=Lax${secure}`;
}
