import { Client } from "/frontend/client/client.js";
import { Clock, Server, equal, heard, ok, test } from "./harness.js";

function connecting({ random = () => 1 } = {}) {
  const server = new Server();
  const clock = new Clock();
  const client = new Client("ws://here/ws?join=none", { WebSocket: server.WebSocket, clock, random });
  const subscription = client.subscribe("broadcast", { epoch: "e1", offset: 0 });
  return { server, clock, client, subscription };
}

function live(options) {
  const it = connecting(options);
  it.server.welcome();
  return it;
}

test("it offers the subprotocols, batches before single frames", () => {
  const { server } = live();
  equal(server.socket.protocol, ["broadcast.v1.batch", "broadcast.v1"]);
  equal(server.socket.url.href, "ws://here/ws?join=none");
});

test("several frames may come as one, and none counts that comes behind the end", () => {
  const { server, client, subscription } = live();
  const message = { type: "message", author: "ann", group: "broadcast", source: "user", sent_at: null };
  const bodies = heard(subscription, "message");
  server.say([1, 2].map((offset) => ({ ...message, body: `${offset}`, offset })));
  server.say([{ type: "bye", code: 4500, reason: "", reconnect: false }, { ...message, body: "3", offset: 3 }]);
  equal([bodies.length, client.state], [2, "closed"]);
});

test("it is connecting until it is welcomed, then live", () => {
  const { server, client } = connecting();
  const states = [client.state];
  client.addEventListener("state", ({ detail }) => states.push(detail.state));
  server.open();
  server.welcome();
  equal(states, ["connecting", "live"]);
});

test("opening twice makes one socket", () => {
  const { server, client } = live();
  client.open();
  equal(server.sockets.length, 1);
});

test("it comes back after 1000, 1006, 1009, 1012 and 4000", () => {
  for (const code of [1000, 1006, 1009, 1012, 4000, 4499]) {
    const { server, clock, client } = live();
    server.drop(code);
    equal(client.state, "reconnecting", code);
    equal(client.retryAt, clock.now() + 500, code);
    clock.pass(500);
    equal([server.sockets.length, client.state], [2, "connecting"], code);
  }
});

test("it stays away after 4500 to 4999, and says why", () => {
  for (const code of [4500, 4501, 4999]) {
    const { server, clock, client } = live();
    server.drop(code, "Not for you.");
    clock.pass(1_000_000);
    equal([server.sockets.length, client.state, client.reason], [1, "closed", "Not for you."], code);
  }
});

test("it stays away after a bye that says so, whatever the code", () => {
  const { server, clock, client } = live();
  server.say({ type: "bye", code: 4000, reason: "Gone for good.", reconnect: false, after_ms: null });
  server.drop(4000);
  clock.pass(1_000_000);
  equal([server.sockets.length, client.state, client.reason], [1, "closed", "Gone for good."]);
});

test("it comes back after a bye that says so, whatever the code", () => {
  const { server, clock, client } = live();
  server.say({ type: "bye", code: 4999, reason: "", reconnect: true, after_ms: 0 });
  clock.pass(500);
  equal([server.sockets.length, client.state], [2, "connecting"]);
});

test("the person at the page may try again after it was closed for good", () => {
  const { server, client, subscription } = live();
  server.drop(4500);
  client.open();
  server.open();
  server.recover();
  equal([client.state, subscription.live], ["live", true]);
});

test("it comes back no sooner than a bye asks, also when it is woken", () => {
  const { server, clock } = live({ random: () => 0 });
  server.say({ type: "bye", code: 4000, reason: "Restarting.", reconnect: true, after_ms: 7_000 });
  server.drop(4000);
  clock.pass(6_999);
  dispatchEvent(new Event("online"));
  equal(server.sockets.length, 1);
  clock.pass(1);
  equal(server.sockets.length, 2);
});

test("clients that a bye sent away do not come back at the same moment", () => {
  const { server, clock, client } = live({ random: () => 0.5 });
  server.say({ type: "bye", code: 4000, reason: "", reconnect: true, after_ms: 1_000 });
  equal(client.retryAt - clock.now(), 1_250);
});

test("the person at the page may come back before a bye asks", () => {
  const { server, client } = live();
  server.say({ type: "bye", code: 4000, reason: "", reconnect: true, after_ms: 60_000 });
  client.open();
  equal(server.sockets.length, 2);
});

test("attempts that fail wait longer and longer, and never beyond the cap", () => {
  const { server, clock, client } = connecting();
  const waits = [];
  for (let i = 0; i < 9; i++) {
    server.drop();
    waits.push(client.retryAt - clock.now());
    clock.pass(waits.at(-1));
  }
  equal(waits, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]);
});

test("a wait is anything from nothing up to the ceiling", () => {
  const waits = [0, 0.25, 0.999].map((random) => {
    const { server, clock, client } = connecting({ random: () => random });
    server.drop();
    server.drop();
    return client.retryAt - clock.now();
  });
  equal(waits, [0, 125, 499.5]);
});

test("a connection that lasted begins the back-off anew, one that did not goes on", () => {
  const { server, clock, client } = live();
  server.drop();
  clock.pass(500);
  server.welcome();
  server.drop();
  equal(client.retryAt - clock.now(), 1000, "after a short life");
  clock.pass(1000);
  server.welcome();
  clock.pass(5_000);
  server.drop();
  equal(client.retryAt - clock.now(), 500, "after a long one");
});

test("what it does not know it ignores", () => {
  const { server, client, subscription } = live();
  const events = [...heard(client, "state", "delayed"), ...heard(subscription, "message", "lost", "live", "ended")];
  for (const frame of [{ type: "presence" }, {}, [], "no json", "null", "3", { type: "message", group: "other" }])
    server.say(frame);
  equal([events.length, client.state], [0, "live"]);
});

test("a dead link is left without waiting for its close, and made again", () => {
  const { server, clock, client } = live();
  clock.pass(25_000);
  equal(server.socket.sent.at(-1), { type: "ping" });
  clock.pass(10_000);
  equal([server.socket.closed, client.state], [true, "reconnecting"]);
  clock.pass(500);
  equal([server.sockets.length, client.state], [2, "connecting"]);
});

test("a handshake that hangs is given up", () => {
  const { server, clock, client } = connecting();
  clock.pass(10_000);
  equal([server.socket.closed, client.state], [true, "reconnecting"]);
});

test("an open socket on which nobody answers is given up", () => {
  const { server, clock, client } = connecting();
  server.open();
  clock.pass(10_000);
  equal([server.socket.closed, client.state], [true, "reconnecting"]);
});

test("it pings as often as the server says", () => {
  const { server, clock } = connecting();
  server.welcome({ ping_ms: 11_000 });
  clock.pass(11_000);
  equal(server.socket.sent.at(-1), { type: "ping" });
});

test("what an old socket still says is not heard", () => {
  const { server, clock, client } = live();
  const [old] = server.sockets;
  server.drop();
  clock.pass(500);
  ok([old.onopen, old.onmessage, old.onclose].every((listener) => listener === null), "an old socket without listeners");
  equal(client.state, "connecting");
});

test("closed by the page it stays closed, and leaves no timer", () => {
  const { server, clock, client } = live();
  server.drop();
  client.close();
  equal([client.state, clock.pending], ["closed", 0]);
  dispatchEvent(new Event("online"));
  equal([server.sockets.length, client.state], [1, "closed"]);
});

test("closed by the page its socket is closed", () => {
  const { server, clock, client } = live();
  client.close();
  equal([server.socket.closed, client.state, clock.pending], [true, "closed", 0]);
});

test("it tries again at once when the network, the page or the tab returns", () => {
  for (const [target, event] of [
    [window, new Event("online")],
    [window, new PageTransitionEvent("pageshow", { persisted: true })],
    [document, new Event("visibilitychange", { bubbles: true })],
  ]) {
    const { server, client } = live();
    server.drop();
    target.dispatchEvent(event);
    equal([server.sockets.length, client.state], [2, "connecting"], event.type);
    client.close();
  }
});

test("a tab that is hidden does not wake it, the network does", () => {
  const { server } = live();
  server.drop();
  Object.defineProperty(document, "hidden", { value: true, configurable: true });
  document.dispatchEvent(new Event("visibilitychange", { bubbles: true }));
  equal(server.sockets.length, 1);
  dispatchEvent(new Event("online"));
  equal(server.sockets.length, 2);
});

test("a live link is asked for a sign of life when the tab returns", () => {
  const { server, clock, client } = live();
  document.dispatchEvent(new Event("visibilitychange", { bubbles: true }));
  equal(server.socket.sent.at(-1), { type: "ping" });
  clock.pass(10_000);
  equal(client.state, "reconnecting");
});

test("a page that is put aside lets its socket go, and resumes when it is back", () => {
  const { server, client } = live();
  server.message(1);
  dispatchEvent(new PageTransitionEvent("pagehide", { persisted: true }));
  equal([server.socket.closed, client.state], [true, "reconnecting"]);
  dispatchEvent(new PageTransitionEvent("pageshow", { persisted: true }));
  server.open();
  equal([server.sockets.length, server.asked], [2, [{ group: "broadcast", epoch: "e1", after: 1 }]]);
});

test("after the machine's sleep the link is not asked but made anew", () => {
  const { server, clock, client } = live();
  clock.sleep(3_600_000);
  dispatchEvent(new Event("online"));
  equal([server.sockets[0].closed, server.sockets.length, client.state], [true, 2, "connecting"]);
});

test("after the machine's sleep the link is made anew also if nothing tells of its end", () => {
  const { server, clock, client } = live();
  clock.pass(11_000);
  clock.sleep(3_600_000);
  clock.pass(0);
  equal([server.sockets[0].closed, client.state], [true, "reconnecting"]);
  clock.pass(500);
  equal([server.sockets.length, client.state], [2, "connecting"]);
});

test("a timer that a hidden tab runs late is not taken for sleep", () => {
  const { server, clock, client } = live();
  clock.sleep(60_000);
  clock.pass(0);
  equal([server.sockets.length, server.socket.sent.at(-1), client.state], [1, { type: "ping" }, "live"]);
});

test("a clock that is set changes neither when it comes back nor how long that takes", () => {
  for (const ms of [-3_600_000, 3_600_000]) {
    const { server, clock, client } = live({ random: () => 0 });
    server.say({ type: "bye", code: 4000, reason: "Restarting.", reconnect: true, after_ms: 7_000 });
    clock.set(ms);
    equal(client.retryAt - clock.date(), 7_000, ms);
    clock.pass(6_999);
    dispatchEvent(new Event("online"));
    equal([server.sockets.length, client.retryAt - clock.date()], [1, 1], ms);
    clock.pass(1);
    equal([server.sockets.length, client.retryAt], [2, null], ms);
    client.close();
  }
});

test("how long a connection lasted does not go by a clock that is set", () => {
  const { server, clock, client } = live();
  server.drop();
  clock.pass(500);
  server.welcome();
  clock.pass(5_000);
  clock.set(-3_600_000);
  server.drop();
  equal(client.retryAt - clock.date(), 500);
});

test("a live link is not believed for long when the browser says that there is no network", () => {
  const { server, clock, client } = live();
  dispatchEvent(new Event("offline"));
  equal([server.socket.sent.at(-1), client.state], [{ type: "ping" }, "live"]);
  clock.pass(2_000);
  equal(client.state, "reconnecting");
  dispatchEvent(new Event("online"));
  equal([server.sockets.length, client.state], [2, "connecting"]);
});

test("a server that answers without a network is believed, and what is not open is not asked", () => {
  const { server, clock, client } = connecting();
  dispatchEvent(new Event("offline"));
  clock.pass(2_000);
  equal([server.sockets.length, client.state], [1, "connecting"]);
  server.welcome();
  dispatchEvent(new Event("offline"));
  server.say({ type: "pong" });
  clock.pass(2_000);
  equal([server.sockets.length, client.state], [1, "live"]);
});

test("a link that is made anew for another user is no attempt that failed, and does not wait", () => {
  for (const lasted of [0, 5_000]) {
    const { server, clock, client } = live();
    server.drop();
    clock.pass(500);
    server.welcome();
    clock.pass(lasted);
    client.expect("ann");
    equal([server.sockets[1].closed, server.sockets.length, client.state], [true, 3, "connecting"], lasted);
    server.drop();
    equal(client.retryAt - clock.now(), lasted ? 500 : 1000, lasted);
    client.expect("bob");
    equal([server.sockets.length, client.state, client.retryAt], [4, "connecting", null], lasted);
    client.close();
  }
});

test("another user does not come back before a bye asks, and may where the one before was sent away", () => {
  const { server, clock, client } = live({ random: () => 0 });
  server.say({ type: "bye", code: 4000, reason: "Restarting.", reconnect: true, after_ms: 7_000 });
  client.expect("ann");
  equal([server.sockets.length, client.state], [1, "reconnecting"]);
  clock.pass(7_000);
  server.welcome({ user: "ann" });
  server.drop(4501);
  equal(client.state, "closed");
  client.expect("");
  equal([server.sockets.length, client.state], [3, "connecting"]);
});
