import { Connection } from "/static/broadcast/connection.js";
import { Outbox } from "/static/broadcast/outbox.js";
import { Clock, Server, equal, heard, test } from "./harness.js";

function outbox() {
  const server = new Server();
  const clock = new Clock();
  const { WebSocket } = server;
  const link = new Connection({ url: "ws://here/ws", group: "broadcast", WebSocket, clock, random: () => 1 });
  let refs = 0;
  const box = new Outbox(link, { clock, ref: () => `r${++refs}` });
  link.open();
  return { server, clock, link, box };
}

function live() {
  const it = outbox();
  it.server.welcome();
  return it;
}

const refs = (server) => server.received.map(({ ref }) => ref);
const error = (ref, code, fields = {}) => ({ type: "error", author: "Server", body: "A sentence.", code, ref, ...fields });

test("a message is sent with its ref", () => {
  const { server, box } = live();
  box.add({ body: "hi", author: "Guest 42" });
  equal(server.received, [{ ref: "r1", body: "hi", author: "Guest 42" }]);
});

test("it is delivered when its own message returns", () => {
  const { server, box } = live();
  const delivered = heard(box, "delivered");
  const letter = box.add({ body: "hi" });
  equal(box.has("r1"), true);
  server.message(1, { ref: "r1" });
  equal([delivered[0].letter === letter, delivered[0].frame.offset, box.has("r1")], [true, 1, false]);
});

test("a message written while offline is sent once, when the connection is live", () => {
  const { server, clock, box } = outbox();
  box.add({ body: "hi" });
  equal(server.socket.sent, []);
  server.welcome();
  equal(refs(server), ["r1"]);
  server.message(1, { ref: "r1" });
  server.drop();
  clock.pass(500);
  server.welcome();
  equal(refs(server), []);
});

test("what was not answered is sent again with the same ref after reconnecting", () => {
  const { server, clock, box } = live();
  const delivered = heard(box, "delivered");
  box.add({ body: "one" });
  box.add({ body: "two" });
  server.drop();
  box.add({ body: "three" });
  clock.pass(500);
  server.welcome();
  equal(refs(server), ["r1"]);
  server.message(1, { ref: "r1", duplicate: true });
  server.message(2, { ref: "r2" });
  server.message(3, { ref: "r3" });
  equal(refs(server), ["r1", "r2", "r3"]);
  equal(delivered.map(({ letter }) => letter.body), ["one", "two", "three"]);
});

test("replayed history acknowledges what had arrived before the connection was lost", () => {
  const { server, clock, box } = live();
  box.add({ body: "one" });
  server.drop();
  clock.pass(500);
  server.welcome();
  server.message(1, { ref: "r1" });
  equal([box.has("r1"), refs(server)], [false, ["r1"]]);
});

test("one is under way at a time, so none overtakes another", () => {
  const { server, box } = live();
  for (const body of ["one", "two", "three"]) box.add({ body });
  equal(refs(server), ["r1"]);
  server.message(1, { ref: "r1" });
  equal(refs(server), ["r1", "r2"]);
});

test("other people's messages acknowledge nothing", () => {
  const { server, box } = live();
  box.add({ body: "one" });
  server.message(1, { ref: "theirs" });
  server.message(2);
  equal(box.has("r1"), true);
});

test("refused for a while, it is kept and sent again when the server said", () => {
  for (const code of ["rate_limited", "unavailable"]) {
    const { server, clock, box } = live();
    const delayed = heard(box, "delayed");
    box.add({ body: "one" });
    box.add({ body: "two" });
    server.say(error("r1", code, { retry_after_ms: 3_000 }));
    equal([delayed[0].letter.ref, delayed[0].frame.body], ["r1", "A sentence."], code);
    clock.pass(2_999);
    equal(refs(server), ["r1"], code);
    clock.pass(1);
    equal(refs(server), ["r1", "r1"], code);
    server.message(1, { ref: "r1" });
    equal(refs(server), ["r1", "r1", "r2"], code);
  }
});

test("without a time from the server it tries again later all the same", () => {
  const { server, clock, box } = live();
  box.add({ body: "one" });
  server.say(error("r1", "unavailable"));
  clock.pass(15_000);
  equal(refs(server), ["r1", "r1"]);
});

test("refused for good, it is returned, and the next one leaves", () => {
  for (const code of ["invalid", "forbidden", "too_large"]) {
    const { server, box } = live();
    const returned = heard(box, "returned");
    box.add({ body: "one" });
    box.add({ body: "two" });
    server.say(error("r1", code));
    equal([returned[0].letter.body, returned[0].frame.body, box.has("r1")], ["one", "A sentence.", false], code);
    equal(refs(server), ["r1", "r2"], code);
  }
});

test("an error without a ref, or with another's, settles nothing", () => {
  const { server, box } = live();
  const events = heard(box, "returned", "delayed", "delivered");
  box.add({ body: "one" });
  server.say(error(undefined, "invalid"));
  server.say(error("other", "invalid"));
  server.say(error("other", "rate_limited", { retry_after_ms: 1 }));
  equal([events.length, box.has("r1")], [0, true]);
});

test("a message whose answer was skipped by a reset is asked about at once", () => {
  const { server, box } = live();
  box.add({ body: "one" });
  server.say({ type: "reset", group: "broadcast", epoch: "e2", offset: 90, reason: "too far behind" });
  equal(refs(server), ["r1", "r1"]);
});

test("a message without any answer is sent again after a while", () => {
  const { server, clock, box } = live();
  box.add({ body: "one" });
  for (let i = 0; i < 3; i++) {
    clock.pass(5_000);
    server.say({ type: "pong" });
  }
  equal(refs(server), ["r1", "r1"]);
});

test("an empty outbox leaves no timer but the monitor's", () => {
  const { server, clock, link, box } = live();
  box.add({ body: "one" });
  server.message(1, { ref: "r1" });
  link.close();
  equal(clock.pending, 0);
});
