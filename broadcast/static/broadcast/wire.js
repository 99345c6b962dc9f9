/** The words of the wire, `broadcast.v1`. They are spelled here and nowhere else. */

export const SUBPROTOCOL = "broadcast.v1";

export const Type = Object.freeze({
  WELCOME: "welcome",
  MESSAGE: "message",
  RESET: "reset",
  ERROR: "error",
  BYE: "bye",
  PING: "ping",
});

export const Source = Object.freeze({ SERVER: "server", USER: "user", GUEST: "guest" });

/** Errors that pass: what was refused with one of these may be sent again. */
const PASSING = new Set(["rate_limited", "unavailable"]);

/** @param {string} code of an `error` frame */
export const passes = (code) => PASSING.has(code);

/** Whether a socket closed with this code is not to come back. @param {number} code */
export const isFinal = (code) => code >= 4500 && code <= 4999;

/**
 * Reads one frame. What is not a JSON object is no frame.
 *
 * @param {string} text
 * @returns {?Record<string, any>}
 */
export function parse(text) {
  try {
    const frame = JSON.parse(text);
    return typeof frame === "object" ? frame : null;
  } catch {
    return null;
  }
}

/**
 * The address to connect to: with the position, where there is one to resume from.
 *
 * @param {string} url absolute, `ws:` or `wss:`
 * @param {import("./position.js").Position} position
 */
export function resumeAddress(url, position) {
  const address = new URL(url);
  if (position.isKnown) {
    address.searchParams.set("after", String(position.offset));
    address.searchParams.set("epoch", position.epoch);
  }
  return address.href;
}
