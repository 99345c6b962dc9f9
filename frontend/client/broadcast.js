export { newRef } from "./browser.js";
export { connect } from "./client.js";
export { BroadcastError } from "./wire.js";
