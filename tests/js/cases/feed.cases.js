import { Clock, Server, equal, frame, heard, ok, pretend, settled, test } from "./harness.js";

const part = (name) => document.querySelector(`[data-${name}]`);
const rows = (list = "messages") => [...part(list).children];
const bodies = (list) => rows(list).map((row) => row.querySelector("[data-body]")?.textContent ?? "—");

/** Brings the page's feed to life. */
async function feed({ user, reading = false, html } = {}) {
  const [server, clock] = [new Server(), new Clock()];
  pretend({ server, clock });
  const root = document.querySelector("broadcast-feed");
  if (user) root.setAttribute("user", user);
  if (user) root.querySelector("[data-as]").replaceChildren();
  if (reading) root.querySelector("form").remove();
  if (html) html(root);
  await import("/frontend/elements/feed.js");
  return { server, clock, root, ...controls(root) };
}

function controls(root) {
  const form = root.querySelector("form");
  return { form, box: form?.elements.body, name: form?.elements.author };
}

async function live(options) {
  const it = await feed(options);
  it.server.welcome({ offset: 3, user: options?.user ?? null });
  return { ...it, ...controls(it.root) };
}

function press(box, fields = {}) {
  const event = new KeyboardEvent("keydown", { key: "Enter", bubbles: true, cancelable: true, ...fields });
  box.dispatchEvent(event);
  return event;
}

function write(it, text) {
  it.box.value = text;
  it.box.dispatchEvent(new Event("input", { bubbles: true }));
}

function say(it, text) {
  write(it, text);
  press(it.box);
  return it.server.received.at(-1)?.ref;
}

async function refuse(it, ref, code, fields = {}) {
  it.server.say({ type: "error", author: "Server", body: "A sentence.", code, ref, ...fields });
  await settled();
}

test("it resumes after the last message as served", async () => {
  const { server } = await live();
  equal(server.asked, [{ group: "broadcast", epoch: "e1", after: 3 }]);
});

test("messages as served stay, and new ones follow", async () => {
  const { server } = await live();
  const before = rows().length;
  server.message(4, { body: "live", author: "bob", source: "guest", guest: true });
  equal(rows().length, before + 1);
  const row = rows().at(-1);
  equal([row.dataset.offset, row.dataset.source], ["4", "guest"]);
  equal(row.querySelector("[data-author]").textContent, "bob");
  equal(row.querySelector("[data-initial]").textContent, "B");
  equal(row.querySelector("time").dateTime, "2026-03-01T12:00:00+00:00");
});

test("text is inserted as text, the author's name too", async () => {
  const { server } = await live();
  globalThis.hacked = false;
  const attack = '<img src="/static/none" onerror="hacked = true"><script>hacked = true</script>';
  server.message(4, { body: attack, author: attack, ref: attack });
  await frame();
  const row = rows().at(-1);
  equal(row.querySelector("[data-body]").textContent, attack);
  equal(row.querySelector("[data-author]").textContent, attack);
  equal([part("messages").querySelectorAll("img, script").length, globalThis.hacked], [0, false]);
});

test("announcements and guests are told apart, in the style and in words", async () => {
  const { server } = await live();
  const seen = (source) => {
    server.message(server.offset = (server.offset ?? 3) + 1, { source });
    return [...rows().at(-1).querySelectorAll("small")]
      .filter((tag) => getComputedStyle(tag).display !== "none")
      .map((tag) => tag.textContent);
  };
  equal(["server", "guest", "user"].map(seen), [["announcement"], ["guest"], []]);
});

test("moments are written as the reader writes them", async () => {
  await feed();
  const time = part("messages").querySelector("time");
  const moment = new Date(time.dateTime);
  ok(time.title.includes(String(moment.getFullYear())), "the full moment as a title");
  ok(time.textContent !== "" && !time.textContent.includes("T"), "a short moment");
});

test("someone who goes on is not named again, but an announcement always is", async () => {
  const { server } = await live();
  const follows = (offset, fields) => {
    server.message(offset, fields);
    return rows().at(-1).hasAttribute("data-follows");
  };
  equal(
    [
      follows(4, { author: "bob" }),
      follows(5, { author: "bob" }),
      follows(6, { author: "bob", source: "guest" }),
      follows(7, { author: "Server", source: "server" }),
      follows(8, { author: "Server", source: "server" }),
    ],
    [false, true, false, false, false],
  );
});

test("Enter sends and empties the box", async () => {
  const it = await live();
  write(it, "hello");
  ok(press(it.box).defaultPrevented, "no line break");
  equal(it.server.received.map(({ body, author }) => [body, author]), [["hello", it.name.value]]);
  equal(it.box.value, "");
});

test("Shift and Enter break the line", async () => {
  const it = await live();
  write(it, "hello");
  ok(!press(it.box, { shiftKey: true }).defaultPrevented, "the browser's own line break");
  equal(it.server.received, []);
});

test("Enter that ends an input method's composition does not send", async () => {
  const it = await live();
  write(it, "にほ");
  ok(!press(it.box, { isComposing: true }).defaultPrevented, "left to the input method");
  ok(!press(it.box, { keyCode: 229 }).defaultPrevented, "left to the input method, in Safari");
  equal(it.server.received, []);
});

test("the button sends too", async () => {
  const it = await live();
  write(it, "hello");
  it.form.querySelector("[type=submit]").click();
  equal(it.server.received.length, 1);
});

test("a blank message is not sent", async () => {
  const it = await live();
  say(it, " \n ");
  equal(it.server.received, []);
});

test("a signed-in user sends no name", async () => {
  const it = await live({ user: "ann" });
  say(it, "hello");
  equal(Object.keys(it.server.received[0]).sort(), ["body", "group", "ref"]);
});

test("what is on its way is shown once, then where the log has it", async () => {
  const it = await live();
  const ref = say(it, "hello");
  equal(bodies("pending"), ["hello"]);
  it.server.message(4, { body: "hello", author: it.name.value, source: "guest", ref });
  equal([bodies("pending"), bodies().at(-1)], [[], "hello"]);
  ok(rows().at(-1).hasAttribute("data-own"), "marked as the reader's own");
});

test("a signed-in user's messages from another tab are theirs too", async () => {
  const { server } = await live({ user: "ann" });
  server.message(4, { author: "ann", source: "user" });
  server.message(5, { author: "ann", source: "guest" });
  equal(rows().slice(-2).map((row) => row.hasAttribute("data-own")), [true, false]);
});

test("a message written while offline waits in sight and is delivered once", async () => {
  const it = await live();
  it.server.drop();
  say(it, "from the tunnel");
  equal(bodies("pending"), ["from the tunnel"]);
  it.clock.pass(500);
  it.server.welcome({ offset: 3 });
  const [{ ref }] = it.server.received;
  it.server.message(4, { body: "from the tunnel", ref });
  it.server.message(4, { body: "from the tunnel", ref, duplicate: true });
  equal([bodies("pending"), bodies().filter((body) => body === "from the tunnel").length], [[], 1]);
});

test("an own message in a part that was skipped is shown when the server confirms it", async () => {
  const it = await live();
  const ref = say(it, "hello");
  it.server.say({ type: "reset", group: "broadcast", epoch: "e2", offset: 90, reason: "" });
  it.server.message(60, { body: "hello", ref, duplicate: true });
  await settled();
  equal([bodies("pending"), bodies().at(-1)], [[], "hello"]);
});

/** Sends a message that arrives while the link is lost, and comes back at 3, with the answer to the second try ahead. */
async function overtaken(it, offset) {
  const ref = say(it, "hello");
  it.server.drop();
  it.clock.pass(500);
  it.server.welcome({ offset: 3 });
  it.server.message(offset, { body: "hello", ref, duplicate: true });
  await settled();
  return ref;
}

test("an own message whose answer overtakes the replay is shown once, in its place", async () => {
  const it = await live();
  const messages = heard(document, "broadcast-message");
  const ref = await overtaken(it, 6);
  equal([bodies("pending"), bodies().includes("hello")], [["hello"], false]);
  equal(rows("pending")[0].querySelector("[data-note]").textContent, "");
  for (const offset of [4, 5, 6, 7]) it.server.message(offset, offset === 6 ? { body: "hello", ref } : {});
  await settled();
  equal([bodies("pending"), bodies().slice(-4)], [[], ["message 4", "message 5", "hello", "message 7"]]);
  ok(rows().at(-2).hasAttribute("data-own"), "marked as the reader's own");
  equal(messages.map(({ offset }) => offset), [4, 5, 6, 7]);
});

test("an own message whose answer overtook what is then skipped is shown all the same", async () => {
  const it = await live();
  await overtaken(it, 6);
  it.server.say({ type: "reset", group: "broadcast", epoch: "e1", offset: 9, reason: "" });
  it.server.message(10);
  equal([bodies("pending"), bodies().slice(-3)], [[], ["—", "hello", "message 10"]]);
});

test("an own message of an epoch that is over is shown all the same", async () => {
  const it = await live();
  await overtaken(it, 6);
  it.server.say({ type: "reset", group: "broadcast", epoch: "e2", offset: 2, reason: "" });
  it.server.message(3);
  equal([bodies("pending"), bodies().slice(-3)], [[], ["—", "hello", "message 3"]]);
});

test("an own message that will not be heard because the reader lost the right is shown", async () => {
  const it = await live();
  await overtaken(it, 6);
  const ref = say(it, "and that");
  it.server.say({ type: "error", author: "Server", body: "You may not.", code: "forbidden", group: "broadcast" });
  it.server.message(7, { body: "and that", ref, duplicate: true });
  await settled();
  equal([bodies("pending"), bodies().slice(-2)], [[], ["hello", "and that"]]);
});

test("an own message that the site's script keeps from being shown is not shown when it is answered", async () => {
  const it = await live();
  document.addEventListener("broadcast-message", (event) => event.preventDefault());
  const ref = say(it, "hello");
  it.server.message(4, { body: "hello", ref });
  await settled();
  equal([bodies("pending"), bodies().includes("hello")], [[], false]);
});

test("a refused text goes back into the empty box, with the server's sentence", async () => {
  const it = await live();
  for (const code of ["invalid", "forbidden", "too_large"]) {
    await refuse(it, say(it, "hello"), code);
    equal([it.box.value, part("notice").textContent, bodies("pending")], ["hello", "A sentence.", []], code);
    it.box.value = "";
  }
});

test("a refused text stays in sight when the box is in use, and can be restored", async () => {
  const it = await live();
  const ref = say(it, "first");
  write(it, "second");
  await refuse(it, ref, "forbidden");
  const [row] = rows("pending");
  equal([row.dataset.failed, row.querySelector("[data-note]").textContent], ["", "A sentence."]);
  equal(it.box.value, "second");
  row.querySelector("[data-restore]").click();
  equal([it.box.value, bodies("pending")], ["first\nsecond", []]);
});

test("a busy server's sentence stands by the message that waits", async () => {
  const it = await live();
  await refuse(it, say(it, "hello"), "rate_limited", { retry_after_ms: 2_000 });
  const [row] = rows("pending");
  equal([row.querySelector("[data-note]").textContent, row.dataset.failed], ["A sentence.", undefined]);
  it.clock.pass(2_000);
  equal(it.server.received.length, 2);
});

test("with the connection closed for good the text stays in the box", async () => {
  const it = await live();
  it.server.say({ type: "bye", code: 4500, reason: "You were signed out.", reconnect: false });
  say(it, "hello");
  await settled();
  equal([it.box.value, bodies("pending")], ["hello", []]);
  equal(part("notice").textContent, "Not sent: You were signed out.");
});

test("over-long text is told before it is sent", async () => {
  const it = await live();
  write(it, "x".repeat(95));
  equal([part("counter").textContent, part("notice").textContent], ["5", ""]);
  write(it, "😀".repeat(101));
  equal(part("notice").textContent, "The message is too long by 1.");
  equal([it.box.getAttribute("aria-invalid"), part("counter").textContent], ["true", "-1"]);
  press(it.box);
  equal([it.server.received.length, [...it.box.value].length], [0, 101]);
  write(it, "😀".repeat(100));
  equal([part("notice").textContent, it.box.getAttribute("aria-invalid")], ["", null]);
  press(it.box);
  equal(it.server.received.length, 1);
});

test("a guest's new name is remembered and used", async () => {
  const it = await live();
  it.name.value = "Zoë";
  it.name.dispatchEvent(new Event("change"));
  say(it, "hello");
  equal([it.server.received[0].author, localStorage.getItem("broadcast.name")], ["Zoë", "Zoë"]);
});

test("the site's own name is refused, and nothing is sent under it", async () => {
  const it = await live();
  it.name.value = "server";
  say(it, "hello");
  equal([it.server.received.length, it.box.value, it.name.getAttribute("aria-invalid")], [0, "hello", "true"]);
  ok(part("notice").textContent.includes("Server"), "a sentence why");
  it.name.value = "";
  press(it.box);
  equal([it.server.received[0].author, it.name.value], ["Guest 500", "Guest 500"]);
});

test("the state of the connection is on the page", async () => {
  const it = await feed();
  const shown = () => [it.root.dataset.state, part("status").textContent, part("countdown").textContent];
  equal(shown(), ["connecting", "Connecting…", ""]);
  it.server.welcome({ offset: 3 });
  equal(shown(), ["live", "Live", ""]);
  it.server.say({ type: "bye", code: 4000, reason: "Restarting.", reconnect: true, after_ms: 3_000 });
  equal(shown(), ["reconnecting", "Restarting. Reconnecting", "in 4 s"]);
  it.clock.pass(1_000);
  equal(shown(), ["reconnecting", "Restarting. Reconnecting", "in 3 s"]);
  part("retry").click();
  equal(shown(), ["connecting", "Connecting…", ""]);
  it.server.drop(4500, "You may not read this.");
  equal(shown(), ["closed", "You may not read this.", ""]);
  equal(part("retry").hidden, false);
});

test("the seconds until it tries again do not go by a clock that is set", async () => {
  const it = await live();
  it.server.say({ type: "bye", code: 4000, reason: "", reconnect: true, after_ms: 3_000 });
  it.clock.set(-3_600_000);
  it.clock.pass(1_000);
  equal(part("countdown").textContent, "in 3 s");
});

test("a reset leaves one quiet divider, and the chat goes on", async () => {
  const { server } = await live();
  const reset = { type: "reset", group: "broadcast", epoch: "e2", offset: 9, reason: "" };
  server.say(reset);
  server.say(reset);
  server.message(10);
  const last = rows().slice(-3);
  equal(last.map((row) => row.matches("[data-divider]")), [false, true, false]);
  equal(last[1].textContent, "Some messages are no longer available");
});

test("a reader at the end stays with the newest", async () => {
  const { server } = await live();
  const scroller = part("scroller");
  for (let offset = 4; offset < 60; offset++) server.message(offset);
  await frame();
  ok(scroller.scrollHeight > scroller.clientHeight, "enough messages to scroll");
  ok(scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 2, "the end in view");
  equal(part("jump").hidden, true);
});

test("a scroll event that comes late does not stop the following", async () => {
  const { server } = await live();
  const scroller = part("scroller");
  for (let offset = 4; offset < 60; offset++) server.message(offset);
  await frame();
  for (let offset = 60; offset < 80; offset++) server.message(offset);
  scroller.dispatchEvent(new Event("scroll"));
  await frame();
  ok(scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 2, "the end in view");
});

test("a reader who scrolled up stays there, and is told how many are new", async () => {
  const { server } = await live();
  const scroller = part("scroller");
  for (let offset = 4; offset < 60; offset++) server.message(offset);
  await frame();
  scroller.scrollTop = 200;
  await frame();
  server.message(60);
  await frame();
  equal([scroller.scrollTop, part("jump").hidden, part("jump").textContent], [200, false, "New messages: 1"]);
  server.message(61);
  equal(part("jump").textContent, "New messages: 2");
  part("jump").click();
  await frame();
  ok(scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 2, "the end in view");
  equal(part("jump").hidden, true);
});

test("scrolling back to the end takes the button away", async () => {
  const { server } = await live();
  const scroller = part("scroller");
  for (let offset = 4; offset < 60; offset++) server.message(offset);
  await frame();
  scroller.scrollTop = 0;
  await frame();
  server.message(60);
  scroller.scrollTop = scroller.scrollHeight;
  await frame();
  equal(part("jump").hidden, true);
});

test("sending brings the reader to the end", async () => {
  const it = await live();
  const scroller = part("scroller");
  for (let offset = 4; offset < 60; offset++) it.server.message(offset);
  await frame();
  scroller.scrollTop = 0;
  await frame();
  say(it, "hello");
  await frame();
  ok(scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 2, "the end in view");
});

test("the page keeps five hundred messages", async () => {
  const { server } = await live();
  for (let offset = 4; offset < 1_700; offset++) server.message(offset);
  await frame();
  equal([rows().length, bodies().at(0), bodies().at(-1)], [500, "message 1200", "message 1699"]);
  equal(rows()[0].hasAttribute("data-follows"), false);
});

test("dropping the oldest does not move what the reader is reading", async () => {
  const { server } = await live();
  const scroller = part("scroller");
  for (let offset = 4; offset < 540; offset++) server.message(offset);
  await frame();
  scroller.scrollTop -= 3_000;
  await frame();
  const read = rows().find((row) => row.getBoundingClientRect().top > scroller.getBoundingClientRect().top);
  const before = read.getBoundingClientRect().top;
  for (let offset = 540; offset < 600; offset++) server.message(offset);
  await frame();
  equal(rows().length, 500);
  ok(Math.abs(read.getBoundingClientRect().top - before) < 2, "the same line at the same place");
});

test("a page to read only shows what comes and needs no box", async () => {
  const { server } = await live({ reading: true });
  server.message(4);
  equal(bodies().at(-1), "message 4");
});

test("storage that is forbidden does not keep the page from working", async () => {
  const get = () => {
    throw new DOMException("denied", "SecurityError");
  };
  const storage = Object.getOwnPropertyDescriptor(globalThis, "localStorage");
  Object.defineProperty(globalThis, "localStorage", { get, configurable: true });
  const it = await live();
  Object.defineProperty(globalThis, "localStorage", storage);
  equal(it.name.value, "Guest 500");
});

test("whoever is someone else by now does not write under the old name", async () => {
  const it = await live({ user: "ann" });
  it.server.drop();
  it.clock.pass(500);
  it.server.welcome({ offset: 3, user: null });
  say(it, "hello");
  equal([it.server.received, it.box.value], [[], "hello"]);
  ok(part("notice").textContent.startsWith("You have signed in or out"), "a sentence why");
});

test("what waited under the old name comes back", async () => {
  const it = await live({ user: "ann" });
  it.server.drop();
  say(it, "hello");
  it.clock.pass(500);
  it.server.welcome({ offset: 3, user: "bob" });
  await settled();
  equal([it.server.received, it.box.value, bodies("pending")], [[], "hello", []]);
});

test("what was written before the first answer does not go out under another name either", async () => {
  const it = await feed({ user: "ann" });
  say(it, "hello");
  it.server.welcome({ offset: 3, user: "bob" });
  await settled();
  equal([it.server.received, it.box.value, bodies("pending")], [[], "hello", []]);
  ok(part("notice").textContent.startsWith("You have signed in or out"), "a sentence why");
});

test("a reader who loses the right to read is told why", async () => {
  const it = await live();
  it.server.say({ type: "error", author: "Server", body: "You may not.", code: "forbidden", group: "broadcast" });
  equal([it.root.dataset.state, part("status").textContent, part("retry").hidden], ["closed", "You may not.", true]);
});

test("the site's own script hears of messages and may keep one from being shown", async () => {
  const it = await live();
  const messages = heard(document, "broadcast-message");
  document.addEventListener("broadcast-message", (event) => event.detail.offset === 5 && event.preventDefault());
  for (const offset of [4, 5, 6]) it.server.message(offset);
  equal(messages.map(({ offset }) => offset), [4, 5, 6]);
  equal(bodies().slice(-2), ["message 4", "message 6"]);
});

test("the site's own script hears how the connection is", async () => {
  const it = await live();
  const states = heard(document, "broadcast-state");
  it.server.drop();
  it.clock.pass(500);
  it.server.welcome({ offset: 3 });
  equal(states.map(({ state }) => state), ["reconnecting", "connecting", "live"]);
});

test("an element that is moved goes on where it was", async () => {
  const it = await live();
  it.server.message(4);
  document.querySelector("main").prepend(it.root);
  it.server.welcome({ offset: 4 });
  it.server.message(5);
  equal([it.server.asked.at(-1).after, bodies().slice(-2)], [4, ["message 4", "message 5"]]);
  say(it, "hello");
  equal(it.server.received.length, 1);
});

/** Puts a copy of the feed in its place, as it is by now or was before, and answers what it asks. */
function restore(it, copy = it.root.cloneNode(true)) {
  it.root.replaceWith(copy);
  it.server.recover();
  return { ...it, root: copy, ...controls(copy) };
}

test("a copy that is put in its place goes on where it was", async () => {
  const it = await live();
  it.server.message(4);
  const copy = restore(it);
  it.server.message(5);
  equal([it.server.asked.at(-1), bodies().slice(-2)], [{ group: "broadcast", epoch: "e1", after: 4 }, ["message 4", "message 5"]]);
  equal([copy.root.dataset.state, rows().length], ["live", 5]);
  say(copy, "hello");
  equal(it.server.received.map(({ body }) => body), ["hello"]);
});

test("a copy of long ago goes on where that was", async () => {
  const it = await live();
  it.server.message(4);
  const copy = it.root.cloneNode(true);
  it.server.message(5);
  restore(it, copy);
  for (const offset of [5, 6]) it.server.message(offset);
  equal([it.server.asked.at(-1).after, bodies().slice(-3)], [4, ["message 4", "message 5", "message 6"]]);
});

test("a copy knows of a loss, and of an epoch that is new", async () => {
  const it = await live();
  it.server.say({ type: "reset", group: "broadcast", epoch: "e2", offset: 9, reason: "" });
  const copy = restore(it);
  equal(it.server.asked.at(-1), { group: "broadcast", epoch: "e2", after: 9 });
  it.server.say({ type: "reset", group: "broadcast", epoch: "e3", offset: 9, reason: "", lost: false });
  restore(copy);
  it.server.message(10);
  equal([it.server.asked.at(-1), bodies().slice(-2)], [{ group: "broadcast", epoch: "e3", after: 9 }, ["—", "message 10"]]);
});

test("a copy of a feed that began empty goes on where it began", async () => {
  const it = await live({ html: byHand });
  restore(it);
  equal(it.server.asked.at(-1), { group: "broadcast", epoch: "e1", after: 3 });
});

test("what was on its way is not so in a copy, and comes once", async () => {
  const it = await live();
  const ref = await overtaken(it, 6);
  const later = say(it, "later");
  restore(it);
  equal(bodies("pending"), []);
  for (const offset of [4, 5, 6]) it.server.message(offset, offset === 6 ? { body: "hello", ref } : {});
  it.server.message(7, { body: "later", ref: later });
  await settled();
  equal(bodies().slice(-4), ["message 4", "message 5", "hello", "later"]);
});

test("a text that was refused can be restored in a copy too", async () => {
  const it = await live();
  const ref = say(it, "first");
  write(it, "second");
  await refuse(it, ref, "forbidden");
  const { box } = restore(it);
  equal(bodies("pending"), ["first"]);
  part("restore").click();
  equal([box.value, bodies("pending")], ["first\nsecond", []]);
});

test("an element that its own listener takes away goes on where it was", async () => {
  const it = await live();
  document.addEventListener("broadcast-message", () => it.root.remove(), { once: true });
  it.server.message(4);
  document.querySelector("main").append(it.root);
  it.server.recover();
  it.server.message(5);
  equal([it.server.asked.at(-1).after, bodies().slice(-2)], [4, ["message 4", "message 5"]]);
});

test("an element that is taken away says that it no longer listens", async () => {
  const it = await live();
  it.root.remove();
  equal(it.server.socket.sent.at(-1), { type: "unsubscribe", group: "broadcast" });
  it.server.message(4);
  equal(it.root.querySelectorAll("[data-messages] > li").length, 3);
});

test("a feed that was written by hand makes its parts itself", async () => {
  const it = await live({ html: byHand });
  equal(it.server.asked, [{ group: "broadcast" }]);
  it.server.message(4, { body: "live" });
  equal(bodies(), ["live"]);
  say(it, "hello");
  equal(it.server.received.map(({ body, author }) => [body, author]), [["hello", "Guest 500"]]);
});

function byHand(root) {
  root.replaceChildren();
  for (const name of ["epoch", "offset", "user", "max-body", "socket"]) root.removeAttribute(name);
  root.setAttribute("write", "");
}

test("a box that was asked for by hand is that of whoever the server says", async () => {
  const it = await feed({ html: byHand });
  equal(it.form, null);
  it.server.welcome({ user: "ann" });
  const { form, box, name } = controls(it.root);
  equal([name, form.querySelector("[data-as]").textContent], [undefined, "Writing as ann"]);
  say({ ...it, box }, "hello");
  equal(it.server.received.map(({ body, author }) => [body, author]), [["hello", undefined]]);
  it.server.drop();
  it.clock.pass(500);
  it.server.welcome({ user: "ann" });
  equal(it.root.querySelectorAll("form").length, 1);
});

test("a box that was asked for by hand for a user is there at once", async () => {
  const it = await feed({
    html: (root) => {
      byHand(root);
      root.setAttribute("user", "ann");
    },
  });
  equal(it.form.querySelector("[data-as]").textContent, "Writing as ann");
});

test("a feed to read only has no box", async () => {
  const it = await live({
    html: (root) => {
      root.replaceChildren();
      root.removeAttribute("write");
    },
  });
  equal(it.form, null);
  equal(part("status").textContent, "Live");
});

test("what the tag says in another language is what is said", async () => {
  const it = await live({
    html: (root) => {
      root.replaceChildren();
      root.setAttribute("texts", '{"live":"Verbunden","empty":"Noch nichts."}');
    },
  });
  equal([part("status").textContent, part("empty").textContent, it.root.dataset.state], ["Verbunden", "Noch nichts.", "live"]);
});

test("two feeds of a page share one socket", async () => {
  const it = await live();
  const other = document.createElement("broadcast-feed");
  other.setAttribute("group", "lobby");
  document.body.append(other);
  it.server.welcome({ group: "lobby", offset: 7 });
  it.server.message(8, { group: "lobby", body: "in the lobby" });
  equal([it.server.sockets.length, it.server.asked.map(({ group }) => group)], [1, ["broadcast", "lobby"]]);
  equal([...other.root.querySelectorAll("[data-body]")].map((body) => body.textContent), ["in the lobby"]);
  ok(!bodies().includes("in the lobby"), "each its own");
});

/** A feed as a framework makes it: an element, then its properties. */
async function made(properties) {
  const it = await live();
  const element = document.createElement("broadcast-feed");
  Object.assign(element, properties);
  document.body.append(element);
  await settled();
  const texts = () => [...element.root.querySelectorAll("[data-messages] [data-body]")].map((body) => body.textContent);
  return { ...it, element, texts };
}

test("properties reflect attributes, and another group is another feed", async () => {
  const it = await made({ group: "lobby", user: "", write: true, maxBody: 20 });
  it.server.welcome({ group: "lobby", offset: 7 });
  it.server.message(8, { group: "lobby", body: "in the lobby" });
  equal([it.element.getAttribute("group"), it.element.getAttribute("max-body"), it.texts()], ["lobby", "20", ["in the lobby"]]);
  it.element.group = "desk";
  await settled();
  equal([it.server.asked.at(-1), it.texts()], [{ group: "desk" }, []]);
  it.server.welcome({ group: "desk", offset: 1 });
  it.server.message(9, { group: "lobby", body: "too late" });
  say({ ...it, ...controls(it.element.root) }, "to the desk");
  equal([it.texts(), it.server.received.at(-1).group], [[], "desk"]);
  it.element.write = false;
  await settled();
  equal(controls(it.element.root).form, null);
});

test("another group with a position goes on from there", async () => {
  const it = await made({ group: "lobby", epoch: "e9", offset: "3" });
  Object.assign(it.element, { group: "desk", epoch: "e7", offset: 5 });
  await settled();
  equal(it.server.asked.slice(-2), [{ group: "lobby", epoch: "e9", after: 3 }, { group: "desk", epoch: "e7", after: 5 }]);
});

test("a feed without a group has none, not even the default one", async () => {
  const it = await made({ user: "", write: true }); // as React and Preact leave out what is undefined
  equal([it.element.dataset.state, it.server.asked.length], ["closed", 1]);
  for (const nothing of [undefined, null, "", "bad name!"]) {
    const before = it.server.asked.length;
    it.element.group = nothing;
    await settled();
    say({ ...it, ...controls(it.element.root) }, "to whom?");
    equal([it.element.dataset.state, it.server.asked.length, it.server.received.length], ["closed", before, 0]);
    equal(it.element.root.querySelector("textarea").value, "to whom?");
    it.element.group = "lobby";
    await settled();
    equal(it.server.asked.at(-1), { group: "lobby" });
  }
  it.element.group = "";
  it.element.removeAttribute("group"); // as Vue does
  await settled();
  equal(it.element.dataset.state, "closed");
});

test("a property that was set before the script was there counts", async () => {
  const it = await feed({ html: (root) => Object.assign(root, { group: "lobby" }) });
  await settled();
  equal([it.root.getAttribute("group"), Object.hasOwn(it.root, "group")], ["lobby", false]);
});

test("without a root of its own an element keeps one for its copies", async () => {
  const it = await made({ group: "lobby", epoch: "e1", offset: "3" });
  it.server.recover({ group: "lobby" });
  it.server.message(4, { group: "lobby", body: "four" });
  it.clock.pass(300);
  const copy = it.element.cloneNode(true);
  it.element.replaceWith(copy);
  it.server.recover({ group: "lobby" });
  it.server.message(5, { group: "lobby", body: "five" });
  equal([...copy.root.querySelectorAll("[data-body]")].map((body) => body.textContent), ["four", "five"]);
  equal([copy.root === copy.shadowRoot, copy.querySelectorAll("template").length], [true, 1]);
});

test("the same group by another name goes on, whatever a fresh page says of the position", async () => {
  const it = await made({ group: "lobby:old", epoch: "e1", offset: "3" });
  it.server.recover({ group: "lobby", after: 3 });
  it.server.message(4, { group: "lobby", body: "four" });
  Object.assign(it.element, { group: "lobby:new", offset: "9" }); // as a page that is morphed has it
  await settled();
  equal([it.server.asked.at(-1), it.texts()], [{ group: "lobby:new", epoch: "e1", after: 4 }, ["four"]]);
});

test("a group that was changed while the element was away is another one when it is back", async () => {
  const it = await made({ group: "lobby", epoch: "e1", offset: "3" });
  it.server.recover({ group: "lobby", after: 3 });
  it.server.message(4, { group: "lobby", body: "four" });
  it.element.remove();
  it.element.group = "desk";
  document.body.append(it.element);
  equal([it.server.asked.at(-1), it.texts()], [{ group: "desk" }, []]);
});

test("a clone that is made as soon as the place is known misses nothing", async () => {
  const it = await made({ group: "lobby" });
  it.server.welcome({ group: "lobby", offset: 7 });
  const copy = it.element.cloneNode(true);
  it.server.message(8, { group: "lobby" });
  it.element.replaceWith(copy);
  equal(it.server.asked.at(-1), { group: "lobby", epoch: "e1", after: 7 });
});

test("attributes that will not do leave an element that works", async () => {
  const texts = '{"live":5,"connecting":null,"closed":"Aus"}';
  const it = await made({ group: "lobby", epoch: "e".repeat(65), offset: "-1", texts, socket: "http://[" });
  equal(it.server.asked.at(-1), { group: "lobby" });
  it.server.welcome({ group: "lobby", offset: 1 });
  equal([it.element.dataset.state, it.element.part("status").textContent], ["live", "Live"]);
  it.element.dataset.state = "static"; // as a page that is morphed has it
  it.element.querySelector("template").remove();
  it.server.message(2, { group: "lobby" });
  it.clock.pass(300);
  equal([it.element.dataset.state, it.element.querySelector("template").content.querySelectorAll("li").length], ["live", 1]);
});
