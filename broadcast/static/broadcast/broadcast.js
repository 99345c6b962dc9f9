export { connect } from "./client.js";
export { BroadcastError } from "./error.js";
export { newRef } from "./ref.js";
