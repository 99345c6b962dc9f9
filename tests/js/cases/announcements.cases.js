import { make } from "/frontend/elements/make.js";
import { Clock, Server, equal, frame, heard, ok, pretend, settled, test } from "./harness.js";

const cookie = () => document.cookie.split("; ").find((each) => each.startsWith("broadcast_dismissed="))?.split("=")[1];
const roots = () => [...document.querySelectorAll("broadcast-announcements")].map(({ root }) => root).filter(Boolean);
const cards = () => roots().flatMap((root) => [...root.querySelectorAll("article:not([data-leaving])")]);
const bodyOf = (card) => card.querySelector("[data-body]").textContent;
const shown = () => cards().filter(({ hidden }) => !hidden).map(bodyOf);
const toast = (text) => cards().find((each) => each.textContent.includes(text));
const focused = () => roots().find(({ activeElement }) => activeElement)?.activeElement ?? document.activeElement;
const press = (key) => focused().dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, composed: true, cancelable: true }));

/** A page with what the tag would have written into it. */
async function page(attributes = {}, html = () => {}) {
  const [server, clock] = [new Server(), new Clock()];
  pretend({ server, clock });
  document.querySelector("broadcast-feed").remove();
  document.cookie = "broadcast_dismissed=; Path=/; Max-Age=0";
  const element = document.createElement("broadcast-announcements");
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  html(element);
  document.body.append(element);
  await import("/frontend/elements/announcements.js");
  server.welcome({ offset: Number(attributes.offset ?? 0) });
  return { server, clock, element };
}

const AT = { group: "broadcast", epoch: "e1", offset: "3" };

function say(it, offset, body, data, fields = {}) {
  it.server.message(offset, { body, data, source: "server", author: "Server", ...fields });
}

test("it follows the default group, and shows what the site says", async () => {
  const it = await page();
  say(it, 1, "Lunch is ready");
  equal([it.server.asked, shown()], [[{ group: "broadcast" }], ["Lunch is ready"]]);
});

test("it goes on from where the page was served", async () => {
  const it = await page({ group: "broadcast user.7", epoch: "e1 e2", offset: "3 0" });
  equal(it.server.asked, [
    { group: "broadcast", epoch: "e1", after: 3 },
    { group: "user.7", epoch: "e2", after: 0 },
  ]);
});

test("what visitors say is no announcement", async () => {
  const it = await page();
  say(it, 1, "I am the site", null, { source: "user" });
  say(it, 2, "I too", null, { source: "guest" });
  equal(shown(), []);
});

test("level, title and link are shown", async () => {
  const it = await page();
  say(it, 1, "Your export has finished", { level: "success", title: "Export", url: "/export/" });
  const { dataset } = toast("Export");
  equal([dataset.level, toast("Export").querySelector("[role=img]").ariaLabel], ["success", "Success"]);
  equal(toast("Export").querySelector("a").getAttribute("href"), "/export/");
  equal(toast("Export").querySelector("[data-title]").textContent, "Export");
});

test("without a title the text is the link", async () => {
  const it = await page();
  say(it, 1, "Lunch", { url: "https://example.org/" });
  equal(toast("Lunch").querySelector("[data-body] a").textContent, "Lunch");
});

test("data that will not do counts as left out", async () => {
  const it = await page({ max: "9" });
  const odd = [
    { level: "fatal", title: 7, url: "javascript:alert(1)", timeout: "soon" },
    { level: ["error"], title: {}, url: " javascript:alert(1)", timeout: -1 },
    { level: null, title: null, url: "data:text/html,x", timeout: true },
    { level: { toString: 1 }, title: ["x"], url: { toString: "/x" }, timeout: { toString: 1, valueOf: 1 } },
    { url: ["/x"], timeout: [5] },
  ];
  odd.forEach((data, i) => say(it, i + 1, "hello", data));
  equal(shown(), odd.map(() => "hello"));
  for (const article of cards()) {
    equal([article.dataset.level, article.dataset.leftMs, article.querySelector("a, [data-title]")], ["info", "10000", null]);
  }
});

test("text is inserted as text", async () => {
  const it = await page();
  globalThis.hacked = false;
  const attack = '<img src="/static/none" onerror="hacked = true">';
  say(it, 1, attack, { title: attack, url: `/${attack}` });
  await frame();
  equal([it.element.root.querySelectorAll("img").length, globalThis.hacked], [0, false]);
});

test("what comes is said in a region that was there before, urgent or not", async () => {
  const it = await page({ max: "9" });
  const region = (role) => it.element.root.querySelector(`[role=${role}]`);
  const before = [region("alert"), region("status")];
  ok(before.every((each) => each.checkVisibility()), "both in the accessibility tree");
  ["info", "success", "warning", "error"].forEach((level, i) => say(it, i + 1, "Hello", { level, title: level }));
  equal(before.map((each) => [...each.children].map((said) => said.textContent)), [
    ["Warning. warning. Hello", "Error. error. Hello"],
    ["Information. info. Hello", "Success. success. Hello"],
  ]);
  it.clock.pass(5_000);
  equal(before.map((each) => each.childElementCount), [0, 0]);
});

test("it goes when its time is over, and not before", async () => {
  const it = await page({ timeout: "5" });
  say(it, 1, "short");
  say(it, 2, "long", { timeout: 20 });
  say(it, 3, "for ever", { timeout: 0 });
  it.clock.pass(4_500);
  equal(shown(), ["short", "long", "for ever"]);
  it.clock.pass(500);
  equal(shown(), ["long", "for ever"]);
  it.clock.pass(20_000);
  equal([shown(), it.clock.pending], [["for ever"], 1]); // what is left watches the connection
});

/** What the server draws: cards of these bodies. */
function drawn(...bodies) {
  const template = make("template", { shadowrootmode: "open" });
  const parts = ["urgent-news", "news", "cards"].map((name) => make("div", { [`data-${name}`]: true }));
  const tools = make("div", {}, make("button", { "data-more": true }), make("button", { "data-clear": true }));
  template.content.append(make("div", { "data-frame": true }, ...parts, tools));
  for (const body of bodies) {
    const text = make("p", { "data-body": true }, body);
    parts[2].append(make("article", {}, make("span", { "data-sign": true }), text, make("time"), make("button")));
  }
  return template;
}

test("what the page was served with has the time that was left", async () => {
  const it = await page(AT, (element) => {
    element.append(drawn("served"));
    element.firstChild.content.querySelector("article").dataset.leftMs = "2000";
  });
  ok(toast("served"), "it there");
  it.clock.pass(2_000);
  ok(!toast("served"), "it gone");
});

test("no time goes by while it has the focus", async () => {
  const it = await page({ timeout: "2" });
  say(it, 1, "hello");
  toast("hello").querySelector("button").focus();
  it.clock.pass(10_000);
  equal(shown(), ["hello"]);
  focused().blur();
  it.clock.pass(2_000);
  equal(shown(), []);
});

test("no time goes by in a tab that nobody looks at", async () => {
  const it = await page({ timeout: "2" });
  Object.defineProperty(document, "hidden", { value: true, configurable: true });
  say(it, 1, "hello");
  it.clock.pass(10_000);
  equal(shown(), ["hello"]);
  delete document.hidden;
  it.clock.pass(2_000);
  equal(shown(), []);
});

test("what matters most is shown, and what does not fit waits and is counted", async () => {
  const it = await page({ max: "3" });
  const more = () => it.element.root.querySelector("[data-more]");
  say(it, 1, "outage", { level: "error" });
  say(it, 2, "read this", { timeout: 0 });
  for (let offset = 3; offset < 7; offset++) say(it, offset, `info ${offset}`);
  equal([shown(), more().textContent], [["outage", "read this", "info 6"], "3 more"]);
  it.clock.pass(10_000);
  equal([shown(), more().textContent], [["outage", "read this", "info 5"], "2 more"]);
  say(it, 7, "warning", { level: "warning" });
  equal(shown(), ["outage", "read this", "warning"]);
  more().click();
  equal([shown().length, more().hidden], [6, true]);
  it.element.root.querySelector("[data-clear]").click();
  equal([shown(), it.element.root.querySelector("[data-clear]").hidden, cookie()], [[], true, "e1:1.2.3.4.5.7"]);
});

test("F6 leads to them and back, and is the browser's own where there are none", async () => {
  const it = await page(AT);
  equal(press("F6"), true);
  say(it, 4, "four");
  const field = document.body.appendChild(document.createElement("input"));
  field.focus();
  equal([press("F6"), focused() === it.element.frame], [false, true]);
  press("F6");
  ok(focused() === field, "the focus back");
});

test("they make way to who writes, and stay where they are while they are used", async () => {
  const it = await page(AT);
  say(it, 4, "four");
  const field = document.body.appendChild(document.createElement("textarea"));
  field.style.cssText = "position: fixed; inset: auto 0 0; block-size: 99px";
  const place = async () => {
    dispatchEvent(new Event("resize"));
    await frame();
    return it.element.frame.dataset.position;
  };
  equal(await place(), "bottom-end");
  field.focus();
  equal(await place(), "top-end");
  toast("four").querySelector("button").focus();
  equal(await place(), "top-end");
  focused().blur();
  equal(await place(), "bottom-end");
});

test("what is dismissed in one tab is dismissed in the others", async () => {
  const it = await page(AT);
  for (const [offset, body] of [[4, "four"], [5, "five"]]) say(it, offset, body);
  const gone = new Promise((resolve) => new MutationObserver(resolve).observe(toast("four"), { attributes: true }));
  new BroadcastChannel("django-live-broadcast").postMessage({ dismissed: { epoch: "e1", offset: "4" } });
  await gone;
  equal(shown(), ["five"]);
});

test("the page's own script has something shown, and may take it back", async () => {
  const it = await page();
  const first = it.element.show({ body: "Saved", level: "success", title: "Draft", timeout: 0 });
  it.element.show({ body: "Copied", url: "javascript:alert(1)" });
  equal([shown(), toast("Saved").dataset.level, toast("Copied").querySelector("a")], [["Saved", "Copied"], "success", null]);
  first.dismiss();
  it.clock.pass(10_000);
  equal([shown(), cookie()], [[], undefined]);
});

test("properties reflect attributes, and another group begins anew", async () => {
  const it = await page(AT);
  say(it, 4, "four");
  it.element.show({ body: "Saved" });
  Object.assign(it.element, { group: "news", timeout: 3, max: 9, position: "top" });
  await settled();
  equal([it.element.getAttribute("group"), it.element.timeout, it.element.max], ["news", 3, 9]);
  equal([it.server.asked.at(-1), shown(), it.element.frame.dataset.position], [{ group: "news" }, ["Saved"], "top"]);
  it.element.group = undefined;
  await settled();
  equal([it.element.dataset.state, it.server.asked.length], ["closed", 2]);
});

test("the button dismisses it, and the cookie keeps that", async () => {
  const it = await page(AT);
  say(it, 4, "four");
  say(it, 5, "five");
  say(it, 6, "six");
  toast("four").querySelector("button").click();
  equal([shown(), cookie()], [["five", "six"], "e1:4"]);
  toast("six").querySelector("button").click();
  equal([shown(), cookie()], [["five"], "e1:4.6"]);
});

test("the cookie forgets what is long ago", async () => {
  const it = await page({ ...AT, max: "99" });
  document.cookie = "broadcast_dismissed=a:1~b:1~c:1~d:1~e:1~f:1~g:1~h:1; Path=/";
  for (let offset = 4; offset < 40; offset++) say(it, offset, `number ${offset}.`);
  for (let offset = 4; offset < 40; offset++) toast(`number ${offset}.`).querySelector("button").click();
  const entries = cookie().split("~");
  equal([entries.length, entries.at(0), entries.at(-1).split(".").length], [8, "b:1", 30]);
  ok(entries.at(-1).endsWith(".39"), "the newest");
});

test("what is in no log can be dismissed and leaves no cookie", async () => {
  const it = await page();
  say(it, null, "passing by");
  toast("passing by").querySelector("button").click();
  equal([shown(), cookie()], [[], undefined]);
});

test("Escape dismisses the one with the focus, and the focus goes on", async () => {
  const it = await page(AT);
  const before = document.createElement("button");
  document.body.prepend(before);
  before.focus();
  say(it, 4, "four");
  say(it, 5, "five");
  ok(document.activeElement === before, "no focus taken");
  toast("four").querySelector("button").focus();
  press("Escape");
  equal(shown(), ["five"]);
  ok(toast("five").contains(focused()), "the focus on the next one");
  press("Escape");
  equal(shown(), []);
  ok(document.activeElement === before, "the focus back where it came from");
  press("Escape");
});

test("the site's own script may keep one from being shown", async () => {
  const it = await page();
  const messages = heard(document, "broadcast-message");
  document.addEventListener("broadcast-message", (event) => event.detail.offset === 1 && event.preventDefault());
  say(it, 1, "one");
  say(it, 2, "two");
  equal([messages.map(({ offset }) => offset), shown()], [[1, 2], ["two"]]);
});

/** Another element, put into the page after the first. */
function second(attributes) {
  const element = document.createElement("broadcast-announcements");
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  document.body.append(element);
  return element;
}

test("what one element shows no other of the page shows again", async () => {
  const it = await page({ group: "user.7", epoch: "e1", offset: "3" });
  it.server.welcome({ group: "user.7", offset: 3 });
  const other = second({ group: "news user.7", epoch: "e2 e1", offset: "0 3" });
  it.server.welcome({ group: "news", epoch: "e2" });
  it.server.welcome({ group: "user.7", offset: 3 });
  say(it, 4, "for you", {}, { group: "user.7" });
  say(it, null, "only now", {}, { group: "user.7" });
  say(it, 1, "for all", {}, { group: "news" });
  equal([it.element, other].map(({ root }) => [...root.querySelectorAll("article")].map(bodyOf)), [
    ["for you", "only now"],
    ["for all"],
  ]);
});

test("what another element was served with comes once as well", async () => {
  const it = await page(AT);
  const other = document.createElement("broadcast-announcements");
  for (const [name, value] of Object.entries({ ...AT, offset: "4" })) other.setAttribute(name, value);
  other.append(drawn("as served"));
  Object.assign(other.firstChild.content.querySelector("article").dataset, { epoch: "e1", offset: "4", group: "broadcast", leftMs: "5000" });
  document.body.append(other);
  it.server.welcome({ offset: 3 });
  say(it, 4, "as served");
  equal([it.element, other].map(({ root }) => root.querySelectorAll("article").length), [0, 1]);
});

test("an element whose neighbour is gone shows what comes", async () => {
  const it = await page(AT);
  const other = second(AT);
  it.server.welcome({ offset: 3 });
  it.element.remove();
  say(it, 4, "hello");
  equal([shown(), other.root.querySelectorAll("article").length], [["hello"], 1]);
});

test("an element that is moved goes on where it was", async () => {
  const it = await page(AT);
  say(it, 4, "four");
  document.body.prepend(it.element);
  it.server.welcome({ offset: 4 });
  say(it, 5, "five");
  equal([it.server.asked.at(-1).after, shown()], [4, ["four", "five"]]);
});

/** A copy of the element, as it is when a page is written down. */
function copyOf(element) {
  dispatchEvent(new Event("turbo:before-cache"));
  return element.cloneNode(true);
}

/** Puts a copy of the element in its place, as it is by now or was before, and answers what it asks. */
function restore(it, copy = copyOf(it.element)) {
  it.element.replaceWith(copy);
  it.server.recover();
  return { ...it, element: copy };
}

const dismiss = (text) => toast(text).querySelector("button").click();

test("a copy that is put in its place shows what is there, and what comes, once", async () => {
  const it = await page(AT);
  say(it, 4, "four");
  const copy = restore(it);
  equal(it.server.asked.at(-1), { group: "broadcast", epoch: "e1", after: 4 });
  say(copy, 5, "five");
  equal([shown(), document.querySelectorAll("broadcast-announcements").length], [["four", "five"], 1]);
  dismiss("four");
  equal([shown(), cookie()], [["five"], "e1:4"]);
});

test("the attributes say how far it has got in each group", async () => {
  const it = await page({ group: "broadcast user.7", epoch: "e1 e2", offset: "3 0" });
  it.server.welcome({ group: "user.7", epoch: "e2", offset: 0 });
  say(it, 1, "for you", {}, { group: "user.7" });
  say(it, 4, "I am no announcement", {}, { source: "user" });
  const place = () => it.clock.pass(300) ?? [it.element.getAttribute("epoch"), it.element.getAttribute("offset")];
  equal(place(), ["e1 e2", "4 1"]);
  it.server.say({ type: "reset", group: "user.7", epoch: "e3", offset: 1, reason: "", lost: false });
  equal(place(), ["e1 e3", "4 1"]);
});

test("what was dismissed stays away from a copy of before", async () => {
  const it = await page(AT);
  const empty = copyOf(it.element);
  for (const [offset, body] of [[4, "four"], [5, "five"], [null, "passing by"], [null, "staying"]]) say(it, offset, body);
  const full = copyOf(it.element);
  for (const body of ["four", "passing by"]) dismiss(body);
  const copy = restore(it, full);
  equal(shown(), ["five", "staying"]);
  restore(copy, empty);
  for (const [offset, body] of [[4, "four"], [5, "five"]]) say(it, offset, body);
  equal(shown(), ["five"]);
});

test("what was dismissed in another tab stays away from a copy", async () => {
  const it = await page(AT);
  for (const [offset, body] of [[4, "four"], [5, "five"]]) say(it, offset, body);
  document.cookie = "broadcast_dismissed=e1:4.7; Path=/";
  restore(it);
  for (const [offset, body] of [[6, "six"], [7, "seven"]]) say(it, offset, body);
  equal(shown(), ["five", "six"]);
});

test("what has had its time stays away from a copy of before", async () => {
  const it = await page(AT);
  const empty = copyOf(it.element);
  say(it, 4, "short", { timeout: 1 });
  say(it, 5, "long");
  const full = copyOf(it.element);
  it.clock.pass(1_000);
  const copy = restore(it, full);
  equal(shown(), ["long"]);
  restore(copy, empty);
  for (const [offset, body] of [[4, "short"], [5, "long"]]) say(it, offset, body);
  equal(shown(), ["long"]);
});

test("what was not read to its end comes in a copy of before", async () => {
  const it = await page(AT);
  const empty = copyOf(it.element);
  say(it, 4, "four");
  restore(it, empty);
  say(it, 4, "four");
  equal(shown(), ["four"]);
});

test("what a site drew by itself goes each by itself", async () => {
  const it = await page(AT, (element) => element.append(drawn("one", "two")));
  dismiss("one");
  restore(it);
  equal(shown(), ["two"]);
});

test("in the page's own tree the same is shown, and dismissed", async () => {
  const it = await page({ ...AT, shadow: "none" });
  say(it, 4, "four");
  equal([it.element.shadowRoot, it.element.querySelector("article [data-body]").textContent], [null, "four"]);
  equal(it.element.getAttribute("offset"), "4");
  dismiss("four");
  equal([shown(), cookie()], [[], "e1:4"]);
});

test("what cannot be read of the attributes counts as left out, and what stood there is kept", async () => {
  const it = await page({ ...AT, texts: "{", max: "many", timeout: "-3", position: "middle" }, (element) =>
    element.append("No script."),
  );
  say(it, 4, "four");
  equal([shown(), toast("four").dataset.leftMs, it.element.firstChild.textContent], [["four"], "10000", "No script."]);
  equal(it.element.frame.dataset.position, "bottom-end");
});

test("an element that is moved keeps what is in no log", async () => {
  const it = await page(AT);
  say(it, null, "passing by");
  document.body.prepend(it.element);
  equal(shown(), ["passing by"]);
});
