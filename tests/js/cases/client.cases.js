import { BroadcastError, connect, newRef } from "/frontend/client/broadcast.js";
import { Client } from "/frontend/client/client.js";
import { Clock, Server, equal, heard, ok, settled, test } from "./harness.js";

const NOW = { epoch: "e1", offset: 3 };

function connecting({ random = () => 1 } = {}) {
  const server = new Server();
  const clock = new Clock();
  return { server, clock, client: new Client("ws://here/ws", { WebSocket: server.WebSocket, clock, random }) };
}

/** A client that follows `lobby`, live. */
function live() {
  const it = connecting();
  const lobby = it.client.subscribe("lobby", NOW);
  it.server.open();
  it.server.recover();
  return { ...it, lobby, in: { group: "lobby" } };
}

const ended = (group, fields) => ({ type: "error", author: "Server", body: "A sentence.", code: "forbidden", group, ...fields });
const offsets = (messages) => messages.map(({ offset }) => offset);

/** Drops the link, comes back, and answers each `subscribe` as if nothing had happened meanwhile. */
function reconnect({ server, clock }, fields = {}) {
  server.drop();
  clock.pass(500);
  server.open();
  for (const asked of server.asked) server.welcome({ group: asked.group, epoch: asked.epoch, offset: asked.after, ...fields });
}

test("it follows a group from a position, and passes its messages on", () => {
  const { server, client } = connecting();
  const lobby = client.subscribe("lobby", NOW);
  const messages = heard(lobby, "message");
  equal(lobby.live, false);
  server.open();
  equal(server.asked, [{ group: "lobby", epoch: "e1", after: 3 }]);
  server.recover();
  server.message(4, { group: "lobby" });
  equal([client.state, lobby.live, offsets(messages), lobby.position], ["live", true, [4], { epoch: "e1", offset: 4 }]);
});

test("without a position it follows from now on, and has lost nothing", () => {
  const { server, client } = connecting();
  const lobby = client.subscribe("lobby");
  const lost = heard(lobby, "lost");
  server.open();
  equal(server.asked, [{ group: "lobby" }]);
  server.welcome({ group: "lobby", offset: 40, recovered: false });
  equal([lost.length, lobby.position], [0, { epoch: "e1", offset: 40 }]);
});

test("a group that is asked for while it is connected is joined at once", () => {
  const { server, client } = live();
  const news = client.subscribe("news");
  const events = heard(news, "live");
  equal(server.asked.at(-1), { group: "news" });
  server.welcome({ group: "news", offset: 8, recovered: false });
  equal([news.live, events.length], [true, 1]);
});

test("each group resumes where it was", () => {
  const it = live();
  it.client.subscribe("news", { epoch: "n1", offset: 10 });
  it.server.recover();
  it.server.message(4, it.in);
  it.server.message(11, { group: "news" });
  reconnect(it);
  equal(it.server.asked, [
    { group: "lobby", epoch: "e1", after: 4 },
    { group: "news", epoch: "n1", after: 11 },
  ]);
});

test("each message is passed on once and in order", () => {
  const { server, lobby, in: here } = live();
  const messages = heard(lobby, "message");
  for (const offset of [3, 4, 4, 5, 2, 6]) server.message(offset, here);
  equal(offsets(messages), [4, 5, 6]);
});

test("a duplicate is no message and moves no position", () => {
  const { server, lobby, in: here } = live();
  const messages = heard(lobby, "message");
  server.message(9, { ...here, duplicate: true });
  server.message(null, { ...here, duplicate: true });
  equal([messages.length, lobby.position.offset], [0, 3]);
});

test("what has no offset is passed on, and the position stays", () => {
  const { server, lobby, in: here } = live();
  const messages = heard(lobby, "message");
  server.message(null, here);
  server.message(null, here);
  equal([messages.length, lobby.position.offset], [2, 3]);
});

test("a server without a log is joined without a position, also the second time, until there is one", () => {
  const it = connecting();
  const lobby = it.client.subscribe("lobby");
  const [lost, messages] = [heard(lobby, "lost"), heard(lobby, "message")];
  it.server.welcome({ group: "lobby", epoch: "", offset: null, recovered: false });
  it.server.message(null, { group: "lobby" });
  reconnect(it, { epoch: "", offset: null, recovered: false });
  equal(it.server.asked, [{ group: "lobby" }]);
  it.server.say({ type: "reset", group: "lobby", epoch: "e1", offset: 0, reason: "" });
  it.server.message(1, { group: "lobby" });
  equal([lost.length, messages.length, lobby.position], [0, 2, { epoch: "e1", offset: 1 }]);
});

test("a reset says that messages are lost, and goes on from there", () => {
  const it = live();
  const [lost, messages] = [heard(it.lobby, "lost"), heard(it.lobby, "message")];
  it.server.say({ type: "reset", group: "lobby", epoch: "e2", offset: 2, reason: "restored" });
  it.server.message(3, it.in);
  equal([lost.length, offsets(messages), it.client.state], [1, [3], "live"]);
  reconnect(it);
  equal(it.server.asked, [{ group: "lobby", epoch: "e2", after: 3 }]);
});

test("a reset of one group is none of another", () => {
  const { server, client, lobby } = live();
  const news = client.subscribe("news", { epoch: "e1", offset: 10 });
  server.recover();
  const lost = heard(lobby, "lost");
  server.say({ type: "reset", group: "news", epoch: "e2", offset: 2, reason: "restored" });
  equal([lost.length, lobby.position, news.position.epoch], [0, NOW, "e2"]);
});

test("a welcome that could not recover what was asked for says so too", () => {
  for (const welcome of [{ epoch: "e9", offset: 40 }, { epoch: "e1", offset: 30 }, { epoch: "e1", offset: 2 }]) {
    const { server, client } = connecting();
    const lobby = client.subscribe("lobby", NOW);
    const lost = heard(lobby, "lost");
    server.welcome({ group: "lobby", ...welcome, recovered: false });
    equal([lost.length, lobby.position], [1, welcome]);
  }
});

test("subscriptions to one group share it on the wire", () => {
  const { server, client } = connecting();
  const [one, two] = [client.subscribe("lobby", NOW), client.subscribe("lobby", NOW)];
  const [first, second] = [heard(one, "message"), heard(two, "message")];
  server.open();
  equal(server.asked.length, 1);
  server.recover();
  server.message(4, { group: "lobby" });
  equal([first, second].map(offsets), [[4], [4]]);
});

test("a later subscription from an earlier place hears what it missed, and the other nothing twice", () => {
  const it = live();
  const first = heard(it.lobby, "message");
  it.server.message(4, it.in);
  const late = it.client.subscribe("lobby", { epoch: "e1", offset: 2 });
  const second = heard(late, "message");
  equal(it.server.asked.at(-1), { group: "lobby", epoch: "e1", after: 2 });
  it.server.message(5, it.in);
  it.server.recover();
  for (const offset of [3, 4, 5, 6]) it.server.message(offset, it.in);
  equal([first, second].map(offsets), [[4, 5, 6], [3, 4, 5, 6]]);
});

test("a later subscription from a place that is no longer kept has lost something, and the other nothing", () => {
  const it = live();
  const [first, firstLost] = [heard(it.lobby, "message"), heard(it.lobby, "lost")];
  it.server.message(4, it.in);
  const late = it.client.subscribe("lobby", { epoch: "e1", offset: 1 });
  const [second, secondLost] = [heard(late, "message"), heard(late, "lost")];
  it.server.welcome({ group: "lobby", offset: 2, recovered: false });
  for (const offset of [3, 4, 5]) it.server.message(offset, it.in);
  equal([first, second].map(offsets), [[4, 5], [3, 4, 5]]);
  equal([firstLost.length, secondLost.length], [0, 1]);
});

test("a later subscription from a later place hears nothing that it has", () => {
  const it = live();
  const late = it.client.subscribe("lobby", { epoch: "e1", offset: 5 });
  const [lost, second] = [heard(late, "lost"), heard(late, "message")];
  it.server.recover();
  for (const offset of [4, 5, 6]) it.server.message(offset, it.in);
  equal([lost.length, offsets(second)], [0, [6]]);
});

test("a later subscription without a position begins where the others are", () => {
  const it = live();
  it.server.message(4, it.in);
  const late = it.client.subscribe("lobby");
  const [events, first] = [heard(late, "live", "lost"), heard(it.lobby, "lost", "live")];
  equal(it.server.asked.at(-1), { group: "lobby", epoch: "e1", after: 4 });
  it.server.recover();
  equal([events.length, first.length, late.position], [1, 0, { epoch: "e1", offset: 4 }]);
});

test("who asks while an answer is awaited is asked for next, and loses nothing", () => {
  const { server, client } = connecting();
  server.open();
  const one = client.subscribe("lobby", { epoch: "e1", offset: 7 });
  const two = client.subscribe("lobby", { epoch: "e1", offset: 3 });
  const [first, second] = [heard(one, "message", "lost"), heard(two, "message", "lost")];
  equal(server.asked, [{ group: "lobby", epoch: "e1", after: 7 }]);
  server.recover();
  server.message(8, { group: "lobby" });
  equal(server.asked.at(-1), { group: "lobby", epoch: "e1", after: 3 });
  server.recover();
  for (const offset of [4, 5, 6, 7, 8, 9]) server.message(offset, { group: "lobby" });
  equal([first, second].map(offsets), [[8, 9], [4, 5, 6, 7, 8, 9]]);
});

/** A server with a log of e1 that keeps ten messages but the first two, and in which the place (void, 0) still stands. */
function keeping({ eager }) {
  const it = { ...connecting(), head: 10, floor: 2, answered: 0 };
  const here = { group: "lobby", epoch: "e1" };
  const replay = (from) => {
    for (let offset = from + 1; offset <= it.head; offset++) it.server.message(offset, here);
  };
  /** Answers what was asked, one after the other; one that is not eager is asked again before it has sent anything. */
  it.answer = () => {
    while (it.answered < it.server.asked.length) {
      const { epoch, after } = it.server.asked[it.answered++];
      const stands = epoch === "e1" || (epoch === "void" && after === 0);
      const recovered = stands && after >= it.floor && after <= it.head;
      const offset = recovered ? after : stands ? it.floor : it.head;
      it.server.welcome({ ...here, offset, recovered });
      if (eager || it.answered === it.server.asked.length) replay(offset);
    }
  };
  return it;
}

const PLACES = ["e1 2", "e1 5", "e1 10", "e1 1", "e0 3", "e0 30", "e9 7", "void 0", ""];

/** What somebody at this place has to hear of eleven messages, and how often they are to be told of a loss. */
function due(place, floor) {
  const [epoch, after] = [place.split(" ")[0], Number(place.split(" ")[1])];
  const isKept = (epoch === "e1" || epoch === "void") && after >= floor;
  return { losses: isKept || !place ? 0 : 1, from: isKept ? after : epoch === "e1" || epoch === "void" ? floor : null };
}

function follow(it, place) {
  const [epoch, offset] = place.split(" ");
  const subscription = it.client.subscribe("lobby", place ? { epoch, offset: Number(offset) } : {});
  return { place, subscription, messages: heard(subscription, "message"), lost: heard(subscription, "lost") };
}

function check(it, followers, what) {
  it.server.message(++it.head, { group: "lobby" });
  for (const { place, subscription, messages, lost } of followers) {
    const { losses, from } = due(place, it.floor);
    const first = from === null ? messages[0].offset : from + 1;
    const wanted = Array.from({ length: it.head - first + 1 }, (_, i) => first + i);
    equal([subscription.live, lost.length, offsets(messages)], [true, losses, wanted], `${what}: ${place}`);
  }
}

test("of subscriptions at any places each hears each message once, and only who missed some is told so", () => {
  for (const eager of [true, false])
    for (const floor of [0, 2])
      for (const one of PLACES)
        for (const two of PLACES)
          for (const three of ["", "e1 5", "e0 3"]) {
            const it = Object.assign(keeping({ eager }), { floor });
            const followers = [one, two, three].map((place) => follow(it, place));
            it.server.open();
            it.answer();
            check(it, followers, `${eager} ${floor} ${one}, ${two}, ${three}`);
            it.client.close();
          }
});

test("a subscription that joins from any place costs those that are there nothing", () => {
  for (const eager of [true, false])
    for (const one of PLACES)
      for (const two of PLACES) {
        const it = keeping({ eager });
        const first = follow(it, one);
        it.server.open();
        it.answer();
        const second = follow(it, two);
        it.answer();
        check(it, [first, second], `${eager} ${one}, then ${two}`);
        it.client.close();
      }
});

test("a later subscription with a place of another epoch moves nobody past what they have not heard", () => {
  const it = live();
  const [first, firstLost] = [heard(it.lobby, "message"), heard(it.lobby, "lost")];
  const late = it.client.subscribe("lobby", { epoch: "e0", offset: 1 });
  const [second, secondLost] = [heard(late, "message"), heard(late, "lost")];
  it.server.message(4, it.in);
  it.server.welcome({ group: "lobby", offset: 9, recovered: false });
  equal(it.server.asked.at(-1), { group: "lobby", epoch: "e1", after: 4 });
  it.server.message(10, it.in); // still from the place before
  it.server.recover();
  for (let offset = 5; offset <= 11; offset++) it.server.message(offset, it.in);
  equal([first, second].map(offsets), [[4, 5, 6, 7, 8, 9, 10, 11], [10, 11]]);
  equal([firstLost.length, secondLost.length], [0, 1]);
});

test("a place that still stands in a new epoch has lost nothing", () => {
  const { server, client } = connecting();
  const lobby = client.subscribe("lobby", { epoch: "void", offset: 0 });
  const [lost, messages] = [heard(lobby, "lost"), heard(lobby, "message")];
  server.welcome({ group: "lobby", epoch: "e1", offset: 0, recovered: true });
  server.message(1, { group: "lobby" });
  equal([lost.length, offsets(messages), lobby.position], [0, [1], { epoch: "e1", offset: 1 }]);
});

test("a reset by which nothing was lost changes the epoch, and nobody is told", () => {
  const it = connecting();
  const lobby = it.client.subscribe("lobby", { epoch: "void", offset: 0 });
  const [told, moves, messages] = [heard(lobby, "lost", "live"), heard(lobby, "moved"), heard(lobby, "message")];
  it.server.welcome({ group: "lobby", epoch: "void", offset: 0 });
  it.server.say({ type: "reset", group: "lobby", epoch: "e1", offset: 0, reason: "The log begins.", lost: false });
  equal([told.length, moves, lobby.position], [1, [{ epoch: "e1", offset: 0 }], { epoch: "e1", offset: 0 }]);
  it.server.message(1, { group: "lobby" });
  reconnect(it);
  equal([offsets(messages), it.server.asked], [[1], [{ group: "lobby", epoch: "e1", after: 1 }]]);
});

test("a reset that says that something was lost, or nothing about it, is a loss", () => {
  for (const fields of [{}, { lost: true }, { lost: null }]) {
    const it = live();
    const lost = heard(it.lobby, "lost");
    it.server.say({ type: "reset", group: "lobby", epoch: "e2", offset: 3, reason: "", ...fields });
    equal([lost.length, it.lobby.position.epoch], [1, "e2"]);
  }
});

test("who keeps a position is told of each change of it, after whatever came by it", () => {
  const it = connecting();
  const lobby = it.client.subscribe("lobby");
  const told = [];
  for (const event of ["lost", "live", "message", "moved"])
    lobby.addEventListener(event, ({ detail }) => told.push(event === "moved" ? `${detail.epoch} ${detail.offset}` : event));
  it.server.welcome({ group: "lobby", offset: 3, recovered: false });
  it.server.message(4, { group: "lobby" });
  it.server.message(null, { group: "lobby" });
  it.server.say({ type: "reset", group: "lobby", epoch: "e2", offset: 9, reason: "" });
  equal(told, ["e1 3", "live", "message", "e1 4", "message", "lost", "e2 9"]);
});

test("a subscription that its own listener closes hears nothing after that", () => {
  for (const event of ["lost", "message", "live"]) {
    const { server, client } = connecting();
    const lobby = client.subscribe("lobby", NOW);
    const told = [];
    for (const each of ["lost", "live", "message", "moved"]) lobby.addEventListener(each, () => told.push(each));
    lobby.addEventListener(event, () => lobby.close());
    server.welcome({ group: "lobby", offset: 8, recovered: false });
    server.message(9, { group: "lobby" });
    equal([told.at(-1), lobby.live], [event, false]);
  }
});

test("the last subscription that is closed ends the group", () => {
  const { server, client, lobby, in: here } = live();
  const other = client.subscribe("lobby");
  server.recover();
  const [first, second] = [heard(lobby, "message"), heard(other, "message")];
  lobby.close();
  server.message(4, here);
  equal([offsets(first), offsets(second), server.socket.sent.filter(({ type }) => type === "unsubscribe")], [[], [4], []]);
  other.close();
  other.close();
  server.message(5, here);
  equal([offsets(second), server.socket.sent.at(-1)], [[4], { type: "unsubscribe", group: "lobby" }]);
  equal(server.socket.sent.filter(({ type }) => type === "unsubscribe").length, 1);
});

test("a subscription that was closed while it was asked for never comes to life", () => {
  const { server, client } = connecting();
  server.open();
  const [one, two] = [client.subscribe("lobby", NOW), client.subscribe("lobby", NOW)];
  one.close();
  const events = heard(one, "live", "message");
  server.recover();
  server.recover();
  equal([events.length, one.live, two.live], [0, false, true]);
});

test("who asks for a group while an answer is due to somebody who is gone gets one of their own", () => {
  const { server, client } = connecting();
  server.open();
  client.subscribe("lobby").close();
  const lobby = client.subscribe("lobby");
  const messages = heard(lobby, "message");
  server.welcome({ group: "lobby", offset: 3 }); // the next that is asked is read after four was said
  equal([lobby.live, server.socket.sent.map(({ type }) => type)], [false, ["ping", "subscribe", "unsubscribe", "subscribe"]]);
  server.welcome({ group: "lobby", offset: 4 });
  server.message(5, { group: "lobby" });
  equal([lobby.live, lobby.position.offset, offsets(messages)], [true, 5, [5]]);
});

test("a subscription may be closed by its own listener", () => {
  const { server, lobby, in: here } = live();
  const messages = heard(lobby, "message");
  lobby.addEventListener("message", () => lobby.close());
  server.message(4, here);
  server.message(5, here);
  equal(offsets(messages), [4]);
});

test("a subscription that was closed is made again from its position", () => {
  const { server, client, lobby, in: here } = live();
  server.message(4, here);
  lobby.close();
  client.subscribe("lobby", lobby.position);
  equal(server.asked.at(-1), { group: "lobby", epoch: "e1", after: 4 });
});

test("a group that may not be read ends, and the others go on", () => {
  const { server, client, lobby, in: here } = live();
  const staff = client.subscribe("staff");
  const [ends, messages] = [heard(staff, "ended"), heard(lobby, "message")];
  server.say(ended("staff"));
  server.message(4, here);
  equal([ends.map(({ code, body }) => [code, body]), offsets(messages)], [[["forbidden", "A sentence."]], [4]]);
  equal([staff.live, lobby.live, client.state], [false, true, "live"]);
});

test("a group whose right is lost ends, and is not asked for again", () => {
  const it = live();
  const ends = heard(it.lobby, "ended");
  it.client.subscribe("news", NOW);
  it.server.recover();
  it.server.say(ended("lobby"));
  equal([ends.length, it.lobby.live], [1, false]);
  reconnect(it);
  equal(it.server.asked.map(({ group }) => group), ["news"]);
});

test("with nothing that may be read the client is live all the same", () => {
  const { server, client } = connecting();
  client.subscribe("staff");
  server.open();
  server.say(ended("staff"));
  equal([client.state, server.socket.sent.at(-1)], ["connecting", { type: "ping" }]);
  server.say({ type: "pong" });
  equal(client.state, "live");
});

test("a client that follows nothing asks whether the server is there", () => {
  const { server, client } = connecting();
  server.open();
  equal(server.socket.sent, [{ type: "ping" }]);
  server.say({ type: "pong" });
  equal(client.state, "live");
});

test("a group that cannot be read right now is asked for again when the server said", () => {
  for (const code of ["unavailable", "rate_limited"]) {
    const { server, clock, client } = connecting();
    const lobby = client.subscribe("lobby", NOW);
    const ends = heard(lobby, "ended");
    server.open();
    server.say(ended("lobby", { code, retry_after_ms: 1_000 }));
    clock.pass(999);
    equal([server.asked.length, client.state], [1, "connecting"], code);
    clock.pass(1);
    equal(server.asked.at(-1), { group: "lobby", epoch: "e1", after: 3 }, code);
    server.recover();
    equal([lobby.live, ends.length, client.state], [true, 0, "live"], code);
  }
});

test("a signed name opens its group", () => {
  const { server, client } = connecting();
  const ticket = client.subscribe("app.ticket.7:1tq2aB:signed");
  const messages = heard(ticket, "message");
  server.open();
  equal(server.asked, [{ group: "app.ticket.7:1tq2aB:signed" }]);
  server.welcome({ group: "app.ticket.7", offset: 0, recovered: false });
  server.message(1, { group: "app.ticket.7" });
  equal([ticket.group, offsets(messages)], ["app.ticket.7", [1]]);
  ticket.close();
  equal(server.socket.sent.at(-1), { type: "unsubscribe", group: "app.ticket.7" });
});

test("the newest signed name is used when it comes back", () => {
  const it = connecting();
  for (const name of ["lobby:1:old", "lobby:2:new", "lobby"]) it.client.subscribe(name, NOW);
  it.server.open();
  equal(it.server.asked, [{ group: "lobby:2:new", epoch: "e1", after: 3 }]);
});

test("a name that is refused ends what came by it, and nothing that came by another", () => {
  const it = live();
  const forged = it.client.subscribe("lobby:1:forged");
  const [ends, forgedEnds, messages] = [heard(it.lobby, "ended"), heard(forged, "ended"), heard(it.lobby, "message")];
  equal(it.server.asked.at(-1).group, "lobby:1:forged");
  it.server.say(ended("lobby"));
  equal([ends.length, forgedEnds.length, it.server.asked.at(-1).group], [0, 1, "lobby"]);
  it.server.recover();
  it.server.message(4, it.in);
  equal([it.lobby.live, forged.live, offsets(messages)], [true, false, [4]]);
});

test("a plain name that is refused does not keep a signed one from being asked for", () => {
  const { server, client } = connecting();
  server.open();
  const plain = client.subscribe("lobby");
  const signed = client.subscribe("lobby:1:good");
  const ends = [heard(plain, "ended"), heard(signed, "ended")];
  server.say(ended("lobby"));
  equal([ends.map(({ length }) => length), server.asked.at(-1).group], [[1, 0], "lobby:1:good"]);
  server.welcome({ group: "lobby" });
  equal([plain.live, signed.live], [false, true]);
});

test("a name that can be no group's is refused where it was written", () => {
  const { client } = connecting();
  let error;
  try {
    client.subscribe("no such group");
  } catch (thrown) {
    error = thrown;
  }
  ok(error instanceof TypeError && error.message.includes("no such group"), "a TypeError that names it");
});

test("the user is who the server says, also when it comes back as another", () => {
  const it = live();
  equal(it.client.user, null);
  const users = [];
  it.client.addEventListener("state", () => users.push([it.client.state, it.client.user]));
  reconnect(it, { user: "ann" });
  equal(users, [["reconnecting", null], ["connecting", null], ["live", "ann"]]);
  equal(it.lobby.live, true);
});

test("a page that was drawn for somebody else has the socket made anew, once, and each group goes on", async () => {
  const it = live();
  const { server, client, lobby } = it;
  const [staff, messages] = [client.subscribe("staff"), heard(lobby, "message")];
  server.say(ended("staff"));
  server.message(4, it.in);
  const sent = client.send("lobby", "as a guest").catch(({ code, message }) => [code, message]);
  client.expect("ann");
  equal([client.user, client.state, lobby.live, server.sockets[0].closed], ["ann", "connecting", false, true]);
  equal(await sent, ["user_changed", "You are ann now."]);
  client.expect("ann");
  server.open();
  equal([server.sockets.length, server.asked, server.received], [2, [{ group: "lobby", epoch: "e1", after: 4 }], []]);
  server.welcome({ ...it.in, offset: 4, user: "ann" });
  server.message(5, it.in);
  equal([client.user, lobby.live, staff.live, offsets(messages)], ["ann", true, false, [4, 5]]);
});

test("if the server then names yet another user, its word counts and the socket stays", async () => {
  const it = live();
  it.client.expect("ann");
  const sent = it.client.send("lobby", "as ann").catch(({ code }) => code);
  it.server.welcome({ ...it.in, user: "bob" });
  equal([await sent, it.client.user, it.client.state, it.server.sockets.length], ["user_changed", "bob", "live", 2]);
});

test("no socket is made anew for a page that does not say whose it is, or that says what is known", () => {
  const { server, client } = connecting();
  for (const user of [null, "ann", null, "ann"]) client.expect(user);
  server.welcome({ user: "ann" });
  client.expect("ann");
  equal([server.sockets.length, client.user], [1, "ann"]);
  client.close();
  client.expect("");
  equal([server.sockets.length, client.state], [1, "closed"]);
});

test("a page has one client of an address", () => {
  const { WebSocket } = new Server();
  const one = connect("/ws", { WebSocket });
  equal([connect() === one, connect(`ws://${location.host}/ws`) === one], [true, true]);
  ok(connect("/other", { WebSocket }) !== one, "another client of another address");
  one.close();
  ok(connect("/ws", { WebSocket }) !== one, "a new client after the old one was closed");
});

test("it connects to the page's own host", () => {
  const server = new Server();
  connect("/ws", { WebSocket: server.WebSocket });
  equal(server.socket.url.href, `ws://${location.host}/ws?v=1&join=none`);
});

test("closed, it lets nothing more through", async () => {
  const { server, client, lobby, in: here } = live();
  const messages = heard(lobby, "message");
  const sent = client.send("lobby", "hi").catch(({ code }) => code);
  client.close();
  server.message(4, here);
  await settled();
  equal([await sent, offsets(messages), lobby.live], ["closed", [], false]);
});

test("an error that a listener throws keeps nothing from anyone", () => {
  const { server, lobby, in: here } = live();
  const messages = [];
  const report = (event) => event.preventDefault();
  addEventListener("error", report);
  lobby.addEventListener("message", () => {
    throw new Error("of the page");
  });
  lobby.addEventListener("message", ({ detail }) => messages.push(detail));
  server.message(4, here);
  server.message(5, here);
  removeEventListener("error", report);
  equal(offsets(messages), [4, 5]);
});

test("what the entry gives is what it declares", () => {
  equal([typeof connect, typeof newRef, new BroadcastError("closed", "x").name], ["function", "function", "BroadcastError"]);
});
