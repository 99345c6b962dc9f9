/** The cookie in which this browser keeps what was dismissed: `<epoch>:<offset>.<offset>~<epoch>:…`. */
const NAME = "broadcast_dismissed";
const SECONDS = 8 * 86_400;
const MOST_OFFSETS = 30;
const MOST_EPOCHS = 8;

export function dismiss(epoch, offset) {
  const written = document.cookie.split("; ").find((cookie) => cookie.startsWith(`${NAME}=`)) ?? "";
  const entries = new Map(written.slice(NAME.length + 1).split("~").map((entry) => entry.split(":")));
  const offsets = [...(entries.get(epoch)?.split(".") ?? []), offset].slice(-MOST_OFFSETS);
  entries.delete(epoch);
  const kept = [...entries].filter(([, offsets]) => offsets).slice(1 - MOST_EPOCHS);
  const value = [...kept, [epoch, offsets.join(".")]].map((entry) => entry.join(":")).join("~");
  const secure = location.protocol === "https:" ? "; Secure" : "";
  document.cookie = `${NAME}=${value}; Path=/; Max-Age=${SECONDS}; SameSite=Lax${secure}`;
}
