import { Outbox } from "./outbox.js";
import { page } from "./page.js";

page.Outbox ??= Outbox;

export { newRef } from "./browser.js";
export { connect } from "./client.js";
export { BroadcastError } from "./error.js";
