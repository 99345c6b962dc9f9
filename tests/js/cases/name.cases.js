import { GuestName } from "/frontend/elements/name.js";
import { FEED, textsOf } from "/frontend/elements/texts.js";
import { equal, ok, test } from "./harness.js";

const text = textsOf(document.body, FEED);

const refused = () => {
  throw new DOMException("denied", "SecurityError");
};

test("a guest is given a name with a number", () => {
  equal(new GuestName(text, { random: () => 0 }).value, "Guest 1");
});

test("the name that was given stays", () => {
  const first = new GuestName(text, { random: () => 0.5 }).value;
  equal(new GuestName(text, { random: () => 0.9 }).value, first);
});

test("the name that was chosen is remembered", () => {
  equal(new GuestName(text).change("  Zoë "), "");
  equal(new GuestName(text).value, "Zoë");
});

test("without storage the name lasts as long as the page", () => {
  const name = new GuestName(text, { storage: refused, random: () => 0 });
  equal(name.value, "Guest 1");
  equal(name.change("Ann"), "");
  equal(name.value, "Ann");
});

test("a storage that is full or forbids writing is no obstacle", () => {
  const storage = () => ({ getItem: () => null, setItem: refused });
  const name = new GuestName(text, { storage });
  name.change("Ann");
  equal(name.value, "Ann");
});

test("the site's own name is refused, however it is written", () => {
  const name = new GuestName(text, { random: () => 0 });
  for (const wanted of ["Server", " server ", "SERVER", "Ser\u200bver", "S e r v e r", "Ｓｅｒｖｅｒ"]) {
    ok(name.change(wanted).includes("Server"), `a sentence for ${wanted}`);
  }
  equal(name.value, "Guest 1");
});

test("names that only resemble it are fine", () => {
  const name = new GuestName(text);
  equal(["Observer", "Server 2", "Servers"].map((wanted) => name.change(wanted)), ["", "", ""]);
});

test("a blank name changes nothing", () => {
  const name = new GuestName(text, { random: () => 0 });
  equal([name.change("   "), name.value], ["", "Guest 1"]);
});
