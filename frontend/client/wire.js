/** The words of the wire, `broadcast.v1`. They are spelled here and nowhere else. */

/** What a client offers, the best first: with batches, several frames may come as one. */
export const SUBPROTOCOLS = ["broadcast.v1.batch", "broadcast.v1"];

export const Type = {
  WELCOME: "welcome",
  MESSAGE: "message",
  RESET: "reset",
  ERROR: "error",
  BYE: "bye",
  PING: "ping",
  PONG: "pong",
  SUBSCRIBE: "subscribe",
  UNSUBSCRIBE: "unsubscribe",
};

/** Whether what was refused with this code may be sent again. */
export const passes = (code) => code === "rate_limited" || code === "unavailable";

/** The close code for a frame that was too large to be read (RFC 6455, section 7.4.1). */
export const TOO_LARGE = 1009;

/** Whether a socket closed with this code is not to come back. */
export const isFinal = (code) => code >= 4500 && code <= 4999;

/** The group of a name, which may be a signed one. */
export function groupOf(name) {
  const [group] = name.split(":");
  if (/^[\w.-]{1,80}$/.test(group)) return group;
  throw new TypeError(`A group's name is letters, digits, ".", "-" and "_"; it came as "${name}".`);
}

/** The address of a socket that joins no group by itself. */
export function socketAddress(address) {
  const url = new URL(address, location);
  url.protocol = url.protocol.replace("http", "ws");
  url.searchParams.set("v", 1);
  url.searchParams.set("join", "none");
  return url.href;
}

/** Reads the frames of a text: one, or an array of them; what is not a JSON object is an empty one. */
export function parse(text) {
  try {
    return [JSON.parse(text)].flat().map(Object);
  } catch {
    return [{}];
  }
}
