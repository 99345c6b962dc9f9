/** Why a message was not sent: the `code` of the server's error, or `closed` or `user_changed`. */
export class BroadcastError extends Error {
  name = "BroadcastError";

  constructor(code, message) {
    super(message);
    this.code = code;
  }
}
