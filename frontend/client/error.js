/** Why a message was not sent. */
export class BroadcastError extends Error {
  name = "BroadcastError";

  constructor(code, message) {
    super(message);
    this.code = code;
  }

  /** One that another script of the page made is one too: each script has a class of its own. */
  static [Symbol.hasInstance](error) {
    return error instanceof Error && error.name === "BroadcastError";
  }
}
