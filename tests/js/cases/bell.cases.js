import { Clock, Server, equal, frame, pretend, settled, test } from "./harness.js";

const CHANNEL = "django-live-broadcast";
const AT = { group: "broadcast user.7", own: "user.7", epoch: "e1 e2", offset: "3 0", user: "", limit: "3" };
const READ_COOKIE = "broadcast_read";
const cookie = (name) => document.cookie.split("; ").find((each) => each.startsWith(`${name}=`))?.split("=")[1];

/** A page with a bell by hand; `answer` is what the server says to whoever asks. */
async function page(attributes = AT, answer) {
  const [server, clock] = [new Server(), new Clock()];
  const asked = [];
  pretend({ server, clock });
  globalThis.fetch = async (url, { method = "GET", body } = {}) => {
    asked.push([method, `${url}`.replace(location.origin, ""), body && JSON.parse(body)]);
    return { ok: Boolean(answer), json: async () => answer };
  };
  document.querySelector("broadcast-feed").remove();
  for (const name of [READ_COOKIE, "broadcast_dismissed"]) document.cookie = `${name}=; Path=/; Max-Age=0`;
  await import("/frontend/elements/bell.js");
  const element = document.createElement("broadcast-bell");
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  document.body.append(element);
  await settled();
  server.welcome({ epoch: "e1", offset: 3 });
  server.welcome({ group: "user.7", epoch: "e2", offset: 0 });
  const { button, list, details } = element;
  const bodies = () => [...list.querySelectorAll("[data-body]")].map((body) => body.textContent);
  const toggle = async () => {
    button.click();
    await frame();
  };
  return { server, element, button, list, details, asked, bodies, toggle, count: () => button.querySelector("[data-count]") };
}

const say = (it, offset, fields = {}) => it.server.message(offset, { source: "server", author: "Server", body: `${offset}`, ...fields });

test("it counts what the site says and all that is to the reader, newest first", async () => {
  const it = await page();
  equal([it.count().hidden, it.button.ariaLabel], [true, "Notifications"]);
  say(it, 4, { data: { title: "Canteen", url: "/menu/" } });
  say(it, 5, { source: "user", author: "bob" });
  say(it, 1, { group: "user.7", source: "user", author: "bob", body: "for you" });
  equal([it.bodies(), it.count().textContent, it.button.ariaLabel], [["for you", "4"], "2", "Notifications, 2 new"]);
  equal([it.list.querySelector("[data-author]").textContent, it.list.querySelector("a").pathname], ["bob", "/menu/"]);
  for (let offset = 6; offset < 10; offset++) say(it, offset);
  equal([it.bodies(), it.count().textContent], [["9", "8", "7"], "6"]);
});

test("opening makes read, for a guest in a cookie, and what comes then is new", async () => {
  const it = await page();
  say(it, 4);
  await it.toggle();
  equal([it.count().hidden, it.button.ariaExpanded, it.list.children[0].dataset.unread], [true, "true", "seen"]);
  equal(cookie(READ_COOKIE), "e1:4");
  say(it, 5);
  equal(it.count().textContent, "1");
  await it.toggle();
  equal([it.list.querySelectorAll("[data-unread]").length, it.count().textContent, it.button.ariaExpanded], [1, "1", "false"]);
});

test("Escape closes it and gives the keyboard back to the button; so does a press elsewhere close it", async () => {
  const it = await page();
  await it.toggle();
  it.element.part("panel").focus();
  it.element.part("panel").dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true }));
  equal([it.details.open, it.element.root.activeElement === it.button], [false, true]);
  await it.toggle();
  document.body.dispatchEvent(new PointerEvent("pointerdown", { bubbles: true, composed: true }));
  equal(it.details.open, false);
});

test("what another tab reads or dismisses is read here", async () => {
  const it = await page();
  for (const offset of [4, 5, 6]) say(it, offset);
  const [tab, witness] = [new BroadcastChannel(CHANNEL), new BroadcastChannel(CHANNEL)];
  const post = async (said) => {
    const isHeard = new Promise((resolve) => witness.addEventListener("message", resolve, { once: true }));
    tab.postMessage(said);
    await isHeard;
  };
  await post({ dismissed: { epoch: "e1", offset: "6" } });
  equal([it.count().textContent, it.bodies().length], ["2", 3]);
  await post({ read: [{ epoch: "e1", offset: 4 }] });
  equal([...it.list.children].map(({ dataset }) => dataset.unread), [undefined, "", undefined]);
});

const MESSAGE = { type: "message", author: "Server", source: "server", sent_at: "2026-03-01T12:00:00+00:00", group: "broadcast" };
const ANSWER = {
  user: "ann",
  unread: 1,
  groups: [
    { name: "broadcast", group: "broadcast", epoch: "e1", offset: 3, read: 2, own: false },
    { name: "user.8", group: "user.8", epoch: "e8", offset: 0, read: 0, own: true },
  ],
  messages: [
    { ...MESSAGE, body: "new", offset: 3, epoch: "e1", unread: true, dismissed: false },
    { ...MESSAGE, body: "read", offset: 2, epoch: "e1", unread: false, dismissed: false },
  ],
};

test("a page out of a cache asks once, and becomes that of whoever reads it", async () => {
  const attributes = { ...AT, group: "broadcast", epoch: "e1", offset: "2", own: "", personal: "", url: "/b/-/received" };
  const it = await page(attributes, ANSWER);
  equal(it.asked, [["GET", "/b/-/received?group=broadcast&personal=1&limit=3", undefined]]);
  equal([it.element.user, it.element.group, it.element.own], ["ann", "broadcast user.8", "user.8"]);
  equal([it.bodies(), it.count().textContent], [["new", "read"], "1"]);
  await it.toggle();
  const places = [{ group: "broadcast", epoch: "e1", offset: 3 }, { group: "user.8", epoch: "e8", offset: 0 }];
  equal([it.asked[1], it.asked.length, cookie(READ_COOKIE)], [["POST", "/b/-/read", { groups: places }], 2, undefined]);
});

test("a copy of it shows each once and counts on", async () => {
  const it = await page();
  for (const offset of [4, 5]) say(it, offset);
  it.element.remove();
  const copy = it.element.cloneNode(true);
  document.body.append(copy);
  await settled();
  equal(it.server.asked.at(-2), { group: "broadcast", epoch: "e1", after: 5 });
  it.server.recover(it.server.asked.at(-2));
  say(it, 6);
  equal([...copy.list.querySelectorAll("[data-body]")].map((body) => body.textContent), ["6", "5", "4"]);
  equal(copy.part("count").textContent, "3");
});

test("a group that is set to nothing is not the default one, and another begins anew", async () => {
  const it = await page();
  say(it, 4);
  it.element.group = undefined;
  await settled();
  equal([it.element.dataset.state, it.bodies(), it.element.part("nothing").hidden], ["closed", [], false]);
  it.element.group = "news";
  await settled();
  equal(it.server.asked.at(-1), { group: "news" });
});
