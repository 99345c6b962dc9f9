import { BroadcastError } from "/frontend/client/broadcast.js";
import { Client } from "/frontend/client/client.js";
import { Clock, Server, equal, heard, ok, settled, test } from "./harness.js";

function connecting() {
  const server = new Server();
  const clock = new Clock();
  const client = new Client("ws://here/ws", { WebSocket: server.WebSocket, clock, random: () => 1 });
  client.subscribe("broadcast", { epoch: "e1", offset: 0 });
  const outcomes = [];
  const send = (ref, options = {}) =>
    client.send("broadcast", `body of ${ref}`, { ref, ...options }).then(
      (frame) => outcomes.push([ref, frame.offset]),
      (error) => outcomes.push([ref, error.code, error.message]),
    );
  return { server, clock, client, send, outcomes };
}

function live() {
  const it = connecting();
  it.server.welcome();
  return it;
}

const refs = (server) => server.received.map(({ ref }) => ref);
const error = (ref, code, fields = {}) => ({ type: "error", author: "Server", body: "A sentence.", code, ref, ...fields });

test("a message is sent as it was given, with a ref of its own", () => {
  const { server, client } = live();
  client.send("news", "hi", { author: "Guest 42", data: { url: "/" } });
  client.send("news", "again");
  const [{ ref, ...sent }] = server.received;
  equal(sent, { group: "news", body: "hi", author: "Guest 42", data: { url: "/" } });
  ok(/^[0-9a-f-]{36}$/.test(ref), "a UUID");
});

test("it resolves with the message when that is in the log", async () => {
  const { server, send, outcomes } = live();
  send("r1");
  await settled();
  equal(outcomes, []);
  server.message(1, { ref: "r1" });
  await settled();
  equal(outcomes, [["r1", 1]]);
});

test("a message is heard by those who follow its group before its promise is kept", async () => {
  const { server, client } = live();
  const order = [];
  client.subscribe("broadcast").addEventListener("message", () => order.push("heard"));
  server.recover();
  const sent = client.send("broadcast", "hi", { ref: "r1" }).then(() => order.push("sent"));
  server.message(1, { ref: "r1" });
  await sent;
  equal(order, ["heard", "sent"]);
});

test("a message to a group that is not followed resolves by the answer that comes to it alone", async () => {
  const { server, client } = live();
  const sent = client.send("desk", "help", { ref: "r1" });
  server.message(7, { ref: "r1", group: "desk", duplicate: true });
  equal((await sent).offset, 7);
});

test("what was sent is what was written, whatever becomes of it", () => {
  const { server, clock, client } = live();
  const data = { step: 1 };
  client.send("broadcast", "hi", { data });
  data.step = 2;
  server.drop();
  clock.pass(500);
  server.welcome();
  equal(server.received[0].data, { step: 1 });
});

test("a message written while offline is sent once, when the connection is live", () => {
  const { server, clock, send } = connecting();
  send("r1");
  server.open();
  equal(refs(server), []);
  server.welcome();
  equal(refs(server), ["r1"]);
  server.message(1, { ref: "r1" });
  server.drop();
  clock.pass(500);
  server.welcome();
  equal(refs(server), []);
});

test("what was not answered is sent again with the same ref after reconnecting", async () => {
  const { server, clock, send, outcomes } = live();
  send("r1");
  send("r2");
  server.drop();
  send("r3");
  clock.pass(500);
  server.welcome();
  equal(refs(server), ["r1"]);
  server.message(1, { ref: "r1", duplicate: true });
  server.message(2, { ref: "r2" });
  server.message(3, { ref: "r3" });
  equal(refs(server), ["r1", "r2", "r3"]);
  await settled();
  equal(outcomes, [["r1", 1], ["r2", 2], ["r3", 3]]);
});

test("replayed history acknowledges what had arrived before the connection was lost", async () => {
  const { server, clock, send, outcomes } = live();
  send("r1");
  server.drop();
  clock.pass(500);
  server.welcome();
  server.message(1, { ref: "r1" });
  await settled();
  equal([outcomes, refs(server)], [[["r1", 1]], ["r1"]]);
});

test("one is under way at a time, so none overtakes another", () => {
  const { server, send } = live();
  for (const ref of ["r1", "r2", "r3"]) send(ref);
  equal(refs(server), ["r1"]);
  server.message(1, { ref: "r1" });
  equal(refs(server), ["r1", "r2"]);
});

test("other people's messages acknowledge nothing", async () => {
  const { server, send, outcomes } = live();
  send("r1");
  server.message(1, { ref: "theirs" });
  server.message(2);
  await settled();
  equal(outcomes, []);
});

test("refused for a while, it is kept and sent again when the server said", () => {
  for (const code of ["rate_limited", "unavailable"]) {
    const { server, clock, client, send } = live();
    const delayed = heard(client, "delayed");
    send("r1");
    send("r2");
    server.say(error("r1", code, { retry_after_ms: 3_000 }));
    equal([delayed[0].ref, delayed[0].body], ["r1", "A sentence."], code);
    clock.pass(2_999);
    equal(refs(server), ["r1"], code);
    clock.pass(1);
    equal(refs(server), ["r1", "r1"], code);
    server.message(1, { ref: "r1" });
    equal(refs(server), ["r1", "r1", "r2"], code);
  }
});

test("without a time from the server it tries again later all the same", () => {
  const { server, clock, send } = live();
  send("r1");
  server.say(error("r1", "unavailable"));
  clock.pass(15_000);
  equal(refs(server), ["r1", "r1"]);
});

test("refused for good, it rejects with the server's reason, and the next one leaves", async () => {
  for (const code of ["invalid", "forbidden", "too_large"]) {
    const { server, client, send, outcomes } = live();
    const sent = client.send("broadcast", "no", { ref: "r1" });
    send("r2");
    server.say(error("r1", code));
    const reason = await sent.catch((thrown) => thrown);
    ok(reason instanceof BroadcastError, "a BroadcastError");
    equal([reason.code, reason.message, refs(server), outcomes], [code, "A sentence.", ["r1", "r2"], []], code);
  }
});

test("an error without a ref, or with another's, settles nothing", async () => {
  const { server, send, outcomes } = live();
  send("r1");
  server.say(error(undefined, "invalid"));
  server.say(error("other", "invalid"));
  server.say(error("other", "rate_limited", { retry_after_ms: 1 }));
  await settled();
  equal(outcomes, []);
});

test("what is too large to be read is refused without its ref, and the next one leaves", async () => {
  const { server, send, outcomes } = live();
  send("r1");
  send("r2");
  server.say(error(undefined, "too_large"));
  await settled();
  equal([refs(server), outcomes], [["r1", "r2"], [["r1", "too_large", "A sentence."]]]);
});

test("what the connection was closed for as too large comes back, and the next one leaves", async () => {
  const { server, clock, send, outcomes } = live();
  send("r1");
  send("r2");
  server.drop(1009, "Message too big");
  await settled();
  equal(outcomes, [["r1", "too_large", "Message too big"]]);
  clock.pass(500);
  server.welcome();
  equal(refs(server), ["r2"]);
});

test("a connection that was closed so before anything was sent costs nothing", async () => {
  const { server, clock, send, outcomes } = connecting();
  send("r1");
  server.open();
  server.drop(1009);
  clock.pass(500);
  server.welcome();
  await settled();
  equal([outcomes, refs(server)], [[], ["r1"]]);
});

/** Comes back as soon as it may, and is welcomed. */
function back({ server, clock, client }) {
  if (client.retryAt) clock.pass(client.retryAt - clock.date());
  server.welcome();
}

test("what ends the connection each time it is sent is given up, and what follows leaves", async () => {
  const it = live();
  const { server, send, outcomes, client } = it;
  send("r1");
  send("r2");
  server.drop();
  back(it);
  await settled();
  equal([outcomes, refs(server)], [[], ["r1"]]);
  server.message(1); // somebody else's is no answer
  server.drop();
  await settled();
  equal(outcomes, [["r1", "undeliverable", "The connection ended twice when this was sent."]]);
  back(it);
  equal([client.state, refs(server)], ["live", ["r2"]]);
  server.message(2, { ref: "r2" });
  await settled();
  equal(outcomes.at(-1), ["r2", 2]);
});

test("a network that goes away takes no message with it", async () => {
  const endings = {
    "an attempt that fails in between": (it) => {
      it.server.drop();
      it.clock.pass(it.client.retryAt - it.clock.date());
      it.server.drop();
    },
    "a handshake that hangs in between": (it) => {
      it.server.drop();
      it.clock.pass(it.client.retryAt - it.clock.date());
      it.clock.pass(10_000);
    },
    "a link that is dead": (it) => it.clock.pass(35_000),
    "an end long after it was written": (it) => {
      it.clock.pass(14_000);
      it.server.say({ type: "pong" });
      it.clock.pass(1_000);
      it.server.drop();
    },
    "a server that says why": (it) =>
      it.server.say({ type: "bye", code: 4000, reason: "Restarting.", reconnect: true, after_ms: 0 }),
    "a page that is put aside": () => dispatchEvent(new PageTransitionEvent("pagehide", { persisted: true })),
  };
  for (const [what, end] of Object.entries(endings)) {
    const it = live();
    it.send("r1");
    for (let i = 0; i < 4; i++) {
      end(it);
      back(it);
    }
    await settled();
    equal([it.outcomes, refs(it.server)], [[], ["r1"]], what);
    it.client.close();
  }
});

test("a message that waits its turn is not what ended the connection", async () => {
  for (const code of [1006, 1009]) {
    const it = live();
    it.send("r1");
    for (let i = 0; i < 3; i++) {
      it.server.say(error("r1", "rate_limited", { retry_after_ms: 60_000 }));
      it.server.drop(code);
      back(it);
    }
    await settled();
    equal([it.outcomes, refs(it.server)], [[], ["r1"]], code);
    it.client.close();
  }
});

test("a frame of more than a mebibyte is refused at once, and the rest goes on", async () => {
  const { server, send, outcomes } = live();
  const size = new Blob([JSON.stringify({ group: "broadcast", body: "body of r1", data: { it: "" }, ref: "r1" })]).size;
  const fitting = "é".repeat((1024 * 1024 - size) / 2) + "x".repeat(size % 2);
  send("r1", { data: { it: `${fitting}x` } });
  send("r2", { data: { it: fitting } });
  await settled();
  const sentence = "A frame may have 1048576 bytes; it came with 1048577.";
  equal([outcomes, refs(server)], [[["r1", "too_large", sentence]], ["r2"]]);
});

test("a frame that is too large is refused also while there is no connection", async () => {
  const { send, outcomes } = connecting();
  send("r1", { data: { it: "x".repeat(1_500_000) } });
  await settled();
  equal(outcomes.map(([ref, code]) => [ref, code]), [["r1", "too_large"]]);
});

test("a ref may be written in any way that a UUID can be", async () => {
  const written = "6F1C1A52-4A0E-4D7B-9D3E-2F6F0B9F8A11";
  for (const ref of [written, `{${written}}`, `urn:uuid:${written}`, written.replaceAll("-", "")]) {
    const { server, send, outcomes } = live();
    send(ref);
    equal(refs(server), [written.toLowerCase()]);
    server.message(1, { ref: written.toLowerCase() });
    await settled();
    equal(outcomes, [[ref, 1]]);
  }
});

test("a message whose answer was skipped by a reset is asked about at once", () => {
  const { server, send } = live();
  send("r1");
  server.say({ type: "reset", group: "broadcast", epoch: "e2", offset: 90, reason: "too far behind" });
  equal(refs(server), ["r1", "r1"]);
});

test("a message without any answer is sent again after a while", () => {
  const { server, clock, send } = live();
  send("r1");
  for (let i = 0; i < 3; i++) {
    clock.pass(5_000);
    server.say({ type: "pong" });
  }
  equal(refs(server), ["r1", "r1"]);
});

test("closed for good by the server, what waits is given back with its reason, and so is what comes later", async () => {
  const { server, send, outcomes } = live();
  send("r1");
  send("r2");
  server.say({ type: "bye", code: 4501, reason: "Too many.", reconnect: false, after_ms: null });
  send("r3");
  await settled();
  equal(outcomes, ["r1", "r2", "r3"].map((ref) => [ref, "closed", "Too many."]));
});

test("what was written under one name is not sent under another", async () => {
  const { server, clock, send, outcomes } = live();
  send("r1");
  server.drop();
  send("r2");
  clock.pass(500);
  server.welcome({ user: "ann" });
  await settled();
  equal([refs(server), outcomes.map(([ref, code]) => [ref, code])], [[], [["r1", "user_changed"], ["r2", "user_changed"]]]);
  send("r3");
  equal(refs(server), ["r3"]);
});

test("what was written before the server told a name is sent under the first", () => {
  const { server, send } = connecting();
  send("r1");
  server.welcome({ user: "ann" });
  equal(refs(server), ["r1"]);
});

test("what is no JSON rejects and holds up nobody", async () => {
  const { server, send, client } = live();
  const circle = {};
  circle.circle = circle;
  const reason = await client.send("broadcast", "hi", { data: circle }).catch((thrown) => thrown);
  ok(reason instanceof TypeError, "a TypeError");
  send("r1");
  equal(refs(server), ["r1"]);
});

test("with nothing to send there is no timer but the monitor's", () => {
  const { server, clock, client, send } = live();
  send("r1");
  server.message(1, { ref: "r1" });
  client.close();
  equal(clock.pending, 0);
});

/** Each way to limit a message, and how it comes back by it. */
const LIMITS = {
  signal: ({ clock }) => {
    const controller = new AbortController();
    clock.setTimeout(() => controller.abort(), 1_000);
    return [{ signal: controller.signal }, "AbortError"];
  },
  "a signal with a reason": ({ clock }) => {
    const controller = new AbortController();
    clock.setTimeout(() => controller.abort(new RangeError("Enough.")), 1_000);
    return [{ signal: controller.signal }, "RangeError"];
  },
  timeout: () => [{ timeout: 1_000 }, "BroadcastError"],
};

test("what was withdrawn before it was written is never sent, and what follows leaves", async () => {
  for (const [what, limit] of Object.entries(LIMITS)) {
    const it = live();
    const [options, name] = limit(it);
    it.send("r1");
    const sent = it.client.send("broadcast", "late", { ref: "r2", ...options }).catch((thrown) => thrown);
    it.send("r3");
    it.clock.pass(1_000);
    const error = await sent;
    equal([error.name, error.code === "timeout"], [name, what === "timeout"], what);
    it.server.message(1, { ref: "r1" });
    equal(refs(it.server), ["r1", "r3"], what);
    it.client.close();
  }
});

test("what was withdrawn when it was written already makes way at once, and is not sent again", async () => {
  for (const [what, limit] of Object.entries(LIMITS)) {
    const it = live();
    it.send("r1", limit(it)[0]);
    it.send("r2");
    it.clock.pass(1_000);
    await settled();
    equal([refs(it.server), it.outcomes.length], [["r1", "r2"], 1], what);
    it.server.message(1, { ref: "r1" }); // it arrived all the same
    it.server.drop();
    back(it);
    equal(refs(it.server), ["r2"], what);
    it.client.close();
  }
});

test("it can be asked about what was withdrawn by sending it again", async () => {
  const { server, clock, send, outcomes } = live();
  send("r1", { timeout: 1_000 });
  clock.pass(1_000);
  await settled();
  send("r1");
  server.message(1, { ref: "r1" });
  server.message(1, { ref: "r1", duplicate: true });
  await settled();
  equal(outcomes, [["r1", "timeout", "It was not answered within 1000 ms."], ["r1", 1]]);
});

test("a signal that was aborted before keeps the message from being sent", async () => {
  const { server, client } = live();
  const error = await client.send("broadcast", "no", { signal: AbortSignal.abort() }).catch((thrown) => thrown);
  equal([error.name, refs(server)], ["AbortError", []]);
});

test("while there is no connection the time runs too, and none that is left out, or longer than timers can wait", async () => {
  const { clock, send, outcomes } = connecting();
  send("r1", { timeout: 60_000 });
  for (const timeout of [undefined, null, Infinity, 2 ** 31]) send(String(timeout), { timeout });
  clock.pass(59_999);
  await settled();
  equal(outcomes, []);
  clock.pass(1);
  await settled();
  equal(outcomes.map(([ref]) => ref), ["r1"]);
});

test("the answers to what was withdrawn are not taken for those to what is under way", async () => {
  for (const [what, answer] of Object.entries({
    "refused without its ref": ({ server }) => server.say(error(undefined, "too_large")),
    "refused by its ref": ({ server }) => server.say(error("r1", "forbidden")),
    "closed for it": ({ server }) => server.drop(1009),
  })) {
    const it = live();
    it.send("r1", { timeout: 1_000 });
    it.send("r2");
    it.clock.pass(1_000);
    answer(it);
    await settled();
    equal(it.outcomes.map(([ref]) => ref), ["r1"], what);
    if (it.client.state !== "live") back(it);
    it.server.say(error(undefined, "too_large"));
    await settled();
    equal(it.outcomes.map(([ref, code]) => [ref, code]), [["r1", "timeout"], ["r2", "too_large"]], what);
    it.client.close();
  }
});

test("withdrawing what has to wait does not have the next one come before the server asked", () => {
  const { server, clock, send } = live();
  send("r1", { timeout: 1_000 });
  send("r2");
  server.say(error("r1", "rate_limited", { retry_after_ms: 3_000 }));
  clock.pass(2_999);
  equal(refs(server), ["r1"]);
  clock.pass(1);
  equal(refs(server), ["r1", "r2"]);
});

test("what is settled leaves neither a timer nor a listener", async () => {
  const { server, clock, client } = live();
  const before = clock.pending;
  const listeners = new Set();
  const signal = {
    throwIfAborted: () => undefined,
    addEventListener: (_, listener) => listeners.add(listener),
    removeEventListener: (_, listener) => listeners.delete(listener),
  };
  const refs = ["answered", "refused"];
  const sent = refs.map((ref) => client.send("broadcast", ref, { ref, signal, timeout: 5_000 }));
  equal([listeners.size, clock.pending > before], [2, true]);
  server.message(1, { ref: "answered" });
  server.say(error("refused", "forbidden"));
  await Promise.allSettled(sent);
  equal([listeners.size, clock.pending], [0, before]);
});
