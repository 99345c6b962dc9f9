import { Connection } from "/static/broadcast/connection.js";
import { Position } from "/static/broadcast/position.js";
import { wakeOnReturn } from "/static/broadcast/wake.js";
import { Clock, Server, equal, heard, ok, test } from "./harness.js";

function connection({ position, random = () => 1 } = {}) {
  const server = new Server();
  const clock = new Clock();
  const link = new Connection({
    url: "ws://here/ws",
    group: "broadcast",
    position,
    pingMs: 25_000,
    WebSocket: server.WebSocket,
    clock,
    random,
  });
  return { server, clock, link };
}

function live(options) {
  const it = connection(options);
  it.link.open();
  it.server.welcome(it.link.position());
  return it;
}

test("it offers the subprotocol and resumes from the page's position", () => {
  const { server } = live({ position: new Position("e1", 12) });
  equal([server.socket.protocol, server.asked], ["broadcast.v1", "?after=12&epoch=e1"]);
});

test("it is connecting until it is welcomed, then live", () => {
  const { server, link } = connection();
  const states = [link.state];
  link.addEventListener("state", () => states.push(link.state));
  link.open();
  server.welcome();
  equal(states, ["closed", "connecting", "live"]);
});

test("opening twice makes one socket", () => {
  const { server, link } = live();
  link.open();
  equal(server.sockets.length, 1);
});

test("it comes back after 1000, 1006, 1009, 1012 and 4000", () => {
  for (const code of [1000, 1006, 1009, 1012, 4000, 4499]) {
    const { server, clock, link } = live();
    server.drop(code);
    equal(link.state, "reconnecting", code);
    equal(link.retryAt, clock.now() + 500, code);
    clock.pass(500);
    equal([server.sockets.length, link.state], [2, "connecting"], code);
  }
});

test("it stays away after 4500 to 4999, and says why", () => {
  for (const code of [4500, 4501, 4999]) {
    const { server, clock, link } = live();
    server.drop(code, "Not for you.");
    clock.pass(1_000_000);
    equal([server.sockets.length, link.state, link.reason], [1, "closed", "Not for you."], code);
  }
});

test("it stays away after a bye that says so, whatever the code", () => {
  const { server, clock, link } = live();
  server.say({ type: "bye", code: 4000, reason: "Gone for good.", reconnect: false });
  server.drop(4000);
  clock.pass(1_000_000);
  equal([server.sockets.length, link.state, link.reason], [1, "closed", "Gone for good."]);
});

test("it comes back no sooner than a bye asks", () => {
  const { server, clock, link } = live({ random: () => 0 });
  server.say({ type: "bye", code: 4000, reason: "Restarting.", reconnect: true, after_ms: 7_000 });
  server.drop(4000);
  clock.pass(6_999);
  link.wake();
  equal(server.sockets.length, 1);
  clock.pass(1);
  equal(server.sockets.length, 2);
});

test("clients that a bye sent away do not come back at the same moment", () => {
  const { server, clock, link } = live({ random: () => 0.5 });
  server.say({ type: "bye", code: 4000, reason: "", reconnect: true, after_ms: 1_000 });
  equal(link.retryAt - clock.now(), 1_250);
});

test("the person at the page may come back before a bye asks", () => {
  const { server, link } = live();
  server.say({ type: "bye", code: 4000, reason: "", reconnect: true, after_ms: 60_000 });
  link.open();
  equal(server.sockets.length, 2);
});

test("attempts that fail wait longer and longer, and never beyond the cap", () => {
  const { server, clock, link } = connection();
  link.open();
  const waits = [];
  for (let i = 0; i < 9; i++) {
    server.drop();
    waits.push(link.retryAt - clock.now());
    clock.pass(waits.at(-1));
  }
  equal(waits, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]);
});

test("a connection that lasted begins the back-off anew, one that did not goes on", () => {
  const { server, clock, link } = live();
  server.drop();
  clock.pass(500);
  server.welcome();
  server.drop();
  equal(link.retryAt - clock.now(), 1000, "after a short life");
  clock.pass(1000);
  server.welcome();
  clock.pass(5_000);
  server.drop();
  equal(link.retryAt - clock.now(), 500, "after a long one");
});

test("it resumes after the last message it passed on", () => {
  const { server, clock } = live({ position: new Position("e1", 3) });
  server.message(4);
  server.message(5);
  server.drop();
  clock.pass(500);
  equal(server.asked, "?after=5&epoch=e1");
});

test("each message is passed on once and in order", () => {
  const { server, link } = live({ position: new Position("e1", 3) });
  const messages = heard(link, "message");
  for (const offset of [3, 4, 4, 5, 2, 6]) server.message(offset);
  equal(messages.map(({ offset }) => offset), [4, 5, 6]);
});

test("what has no offset is passed on, and the position stays", () => {
  const { server, link } = live({ position: new Position("e1", 3) });
  const messages = heard(link, "message");
  server.message(null);
  server.message(null);
  equal([messages.length, link.position().offset], [2, 3]);
});

test("a live-only server is joined without a position, also the second time", () => {
  const { server, clock, link } = live();
  server.message(null);
  server.drop();
  clock.pass(500);
  equal([server.asked, link.position().isKnown], ["", false]);
});

test("each group has its own position", () => {
  const { server, link } = live({ position: new Position("e1", 10) });
  const messages = heard(link, "message");
  server.message(1, { group: "news" });
  server.message(1, { group: "news" });
  server.message(11);
  equal(messages.map(({ group, offset }) => [group, offset]), [["news", 1], ["broadcast", 11]]);
  equal([link.position("news").offset, link.position().offset], [1, 11]);
});

test("a reset says that messages are lost, and goes on from there", () => {
  const { server, clock, link } = live({ position: new Position("e1", 10) });
  const [lost, messages] = [heard(link, "lost"), heard(link, "message")];
  server.say({ type: "reset", group: "broadcast", epoch: "e2", offset: 2, reason: "restored" });
  server.message(3);
  equal([lost.length, messages.length, link.state], [1, 1, "live"]);
  server.drop();
  clock.pass(500);
  equal(server.asked, "?after=3&epoch=e2");
});

test("a welcome that could not recover what was asked for says so too", () => {
  const { server, link } = connection({ position: new Position("e1", 10) });
  const lost = heard(link, "lost");
  link.open();
  server.welcome({ epoch: "e9", offset: 40, recovered: false });
  equal([lost.length, link.position().epoch, link.position().offset], [1, "e9", 40]);
});

test("a first welcome without a position has lost nothing", () => {
  const { server, link } = connection();
  const lost = heard(link, "lost");
  link.open();
  server.welcome({ offset: 40, recovered: false });
  equal([lost.length, link.position().offset], [0, 40]);
});

test("a message with a ref is acknowledged, also one that was passed before", () => {
  const { server, link } = live({ position: new Position("e1", 3) });
  const [messages, acknowledged] = [heard(link, "message"), heard(link, "acknowledged")];
  server.message(4, { ref: "r4" });
  server.message(2, { ref: "r2", duplicate: true });
  equal(messages.map(({ ref }) => ref), ["r4"]);
  equal(acknowledged.map(({ ref }) => ref), ["r4", "r2"]);
});

test("a duplicate is no message and moves no position, with an offset or without", () => {
  const { server, link } = live({ position: new Position("e1", 3) });
  const [messages, acknowledged] = [heard(link, "message"), heard(link, "acknowledged")];
  server.message(null, { ref: "r1", duplicate: true });
  server.message(9, { ref: "r2", duplicate: true });
  equal([messages.length, acknowledged.length, link.position().offset], [0, 2, 3]);
});

test("what it does not know it ignores", () => {
  const { server, link } = live();
  const events = heard(link, "message", "acknowledged", "lost", "refused", "state");
  for (const frame of [{ type: "presence" }, {}, [], "no json", "null"]) server.say(frame);
  equal([events.length, link.state], [0, "live"]);
});

test("a dead link is left without waiting for its close, and made again", () => {
  const { server, clock, link } = live();
  clock.pass(25_000);
  equal(server.socket.sent, [{ type: "ping" }]);
  clock.pass(10_000);
  equal([server.socket.closed, link.state], [true, "reconnecting"]);
  clock.pass(500);
  equal([server.sockets.length, link.state], [2, "connecting"]);
});

test("a handshake that hangs is given up", () => {
  const { server, clock, link } = connection();
  link.open();
  clock.pass(10_000);
  equal([server.socket.closed, link.state], [true, "reconnecting"]);
});

test("it pings as often as the server says", () => {
  const { server, clock, link } = connection();
  link.open();
  server.welcome({ ping_ms: 11_000 });
  clock.pass(11_000);
  equal(server.socket.sent, [{ type: "ping" }]);
});

test("what an old socket still says is not heard", () => {
  const { server, clock, link } = live();
  const [old] = server.sockets;
  const speak = old.onmessage;
  server.drop();
  clock.pass(500);
  ok(speak !== null && old.onmessage === null && old.onclose === null, "an old socket without listeners");
  equal(link.state, "connecting");
});

test("nothing is sent unless it is live", () => {
  const { server, link } = connection();
  equal(link.send({ body: "x" }), false);
  link.open();
  equal(link.send({ body: "x" }), false);
  server.welcome();
  equal([link.send({ body: "x" }), server.socket.sent], [true, [{ body: "x" }]]);
});

test("closed by the page it stays closed, and leaves no timer", () => {
  const { server, clock, link } = live();
  server.drop();
  link.close();
  equal([link.state, clock.pending], ["closed", 0]);
  link.open();
  link.close();
  equal([server.socket.closed, link.state, clock.pending], [true, "closed", 0]);
});

test("it tries again at once when the network, the page or the tab returns", () => {
  for (const [target, event] of [
    [window, new Event("online")],
    [window, new PageTransitionEvent("pageshow", { persisted: true })],
    [document, new Event("visibilitychange")],
  ]) {
    const { server, link } = live();
    const ending = new AbortController();
    wakeOnReturn(link, ending.signal);
    server.drop();
    target.dispatchEvent(event);
    equal([server.sockets.length, link.state], [2, "connecting"], event.type);
    server.drop();
    ending.abort();
    target.dispatchEvent(event);
    equal(server.sockets.length, 2, `${event.type} after its end`);
  }
});

test("a tab that is hidden does not wake it", () => {
  const { server, link } = live();
  wakeOnReturn(link, new AbortController().signal);
  server.drop();
  Object.defineProperty(document, "hidden", { value: true, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
  equal(server.sockets.length, 1);
});

test("a live link is asked for a sign of life when the tab returns", () => {
  const { server, clock, link } = live();
  link.wake();
  equal(server.socket.sent, [{ type: "ping" }]);
  clock.pass(10_000);
  equal(link.state, "reconnecting");
});
