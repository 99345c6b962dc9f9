/** For how long one is kept: a day longer than the list of what came goes back. */
const SECONDS = 31 * 86_400;
const MOST_EPOCHS = 8;

/** What a cookie has for each epoch, that of the last change last: `<epoch>:<text>~<epoch>:<text>`. */
export function entriesOf(name) {
  const cookie = document.cookie.split("; ").find((cookie) => cookie.startsWith(`${name}=`)) ?? "";
  return new Map(cookie.slice(name.length + 1).split("~").map((entry) => entry.split(":")));
}

/** Has this browser keep the last of these entries, on all pages. */
export function keepEntries(name, entries) {
  const kept = [...entries].filter(([, text]) => text).slice(-MOST_EPOCHS);
  const value = kept.map((entry) => entry.join(":")).join("~");
  const secure = location.protocol === "https:" ? "; Secure" : "";
  document.cookie = `${name}=${value}; Path=/; Max-Age=${SECONDS}; SameSite=Lax${secure}`;
}
