// What the types accept, and what they refuse.
import { BroadcastError, connect, newRef, type Message } from "django-live-broadcast";
import type { BroadcastFeedElement } from "django-live-broadcast/feed";

const client = connect("/ws");
const ref = newRef();
const controller = new AbortController();

export const sent: Promise<Message> = client.send("lobby", "hi", { ref, signal: controller.signal, timeout: 5_000 });
sent.catch((error: unknown) => error instanceof BroadcastError && error.code === "timeout");
client.expect("ann");
client.addEventListener("state", { handleEvent: ({ detail }) => console.log(detail.state, detail.retryAt) });
client.addEventListener("delayed", ({ detail }) => console.log(detail.retry_after_ms));
client.subscribe("lobby", { epoch: "e1", offset: 3 }).addEventListener("message", ({ detail }) => console.log(detail.body));

const feed: BroadcastFeedElement = document.createElement("broadcast-feed");
Object.assign(feed, { texts: { send: "Senden" } });
feed.group = "lobby";
feed.group = null;
feed.maxBody = 100;
feed.write = true;
feed.texts = { send: "Senden" };
feed.addEventListener("broadcast-state", ({ detail }) => console.log(detail.state === "live", detail.reason));
document.addEventListener("broadcast-message", (event) => console.log(event.detail.body, event.preventDefault()));

const toasts = document.querySelector("broadcast-announcements");
toasts?.show({ body: "Saved.", level: "success", timeout: 3 }).dismiss();

// @ts-expect-error: a body is text
void client.send("lobby", 3);
// @ts-expect-error: a time-out is a number
void client.send("lobby", "hi", { timeout: "5 s" });
// @ts-expect-error: a signal, not its controller
void client.send("lobby", "hi", { signal: controller });
// @ts-expect-error: there is no such event
client.addEventListener("stat", () => undefined);
// @ts-expect-error: it is only read
client.state = "live";
// @ts-expect-error: there is no such level
toasts?.show({ body: "Saved.", level: "fatal" });
// @ts-expect-error: a group is named
feed.group = 3;
// @ts-expect-error: feeds have no position
feed.position = "top";
// @ts-expect-error: there is no such state
feed.addEventListener("broadcast-state", ({ detail }) => detail.state === "open");
