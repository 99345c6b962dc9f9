import { serve } from "./app.js";

let visits = 0;

/** For libraries that swap in what the server drew; the page itself moves an element, for they have no way to. */
export function byParts(load) {
  let shown;
  let hears;
  serve(async (state, hear) => {
    const { group, news, isThere, isLast } = state;
    const key = JSON.stringify([group, news, isThere]);
    const root = document.getElementById("root");
    hears ??= (event) => event.target.localName === "broadcast-feed" && hear(event);
    root.addEventListener("broadcast-message", hears);
    if (key !== shown) await load(`/part/?${new URLSearchParams({ ...(isThere && { news, group: group ?? "" }), visit: ++visits })}`);
    shown = key;
    if (isLast) root.append(root.querySelector("broadcast-feed"));
  });
}
