/** By which the tabs of a browser tell each other. */
const CHANNEL = "django-live-broadcast";

/** Tells all other tabs and elements of this browser. */
export function tellTabs(news) {
  const channel = new BroadcastChannel(CHANNEL);
  channel.postMessage(news);
  channel.close();
}

/** Calls back with what another tab or element tells under this name, until the signal ends it. */
export function onTold(name, act, signal) {
  const channel = new BroadcastChannel(CHANNEL);
  channel.addEventListener("message", ({ data }) => data?.[name] && act(data[name]));
  signal.addEventListener("abort", () => channel.close());
}

/** Tells the account of whoever is signed in, at one of the app's addresses; the page does not wait for it. */
export function tellAccount(address, fields) {
  const headers = { "Content-Type": "application/json" };
  const request = { method: "POST", body: JSON.stringify(fields), headers, keepalive: true, credentials: "same-origin" };
  fetch(address, request).catch(() => {});
}
