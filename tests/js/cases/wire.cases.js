import { newRef } from "/frontend/client/browser.js";
import { groupOf, isFinal, parse, passes, socketAddress } from "/frontend/client/wire.js";
import { equal, ok, test } from "./harness.js";

const UUID4 = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

test("the address is that of a socket, and joins nothing by itself", () => {
  equal(socketAddress("/ws"), `ws://${location.host}/ws?v=1&join=none`);
  equal(socketAddress("https://there/site/ws"), "wss://there/site/ws?v=1&join=none");
  equal(socketAddress("wss://there/ws?x=1"), "wss://there/ws?x=1&v=1&join=none");
});

test("a name is the group's, or begins with it and is signed", () => {
  equal(["lobby", "user.7:1tq2aB:c2lnbmVk"].map(groupOf), ["lobby", "user.7"]);
});

test("what can be no group's name is an error of whoever wrote it", () => {
  for (const name of ["", "two words", "a/b", "a".repeat(81), ":signed"]) {
    let error;
    try {
      groupOf(name);
    } catch (thrown) {
      error = thrown;
    }
    ok(error instanceof TypeError, `a TypeError for “${name}”`);
  }
});

test("codes from 4500 to 4999 are final", () => {
  equal([1000, 1006, 1012, 4000, 4499, 4500, 4501, 4999, 5000].filter(isFinal), [4500, 4501, 4999]);
});

test("only what passes is sent again", () => {
  equal(["invalid", "too_large", "forbidden", "rate_limited", "unavailable"].filter(passes), [
    "rate_limited",
    "unavailable",
  ]);
});

test("what is no JSON object is a frame of no type", () => {
  const texts = ["", "{", "null", "3", '"x"', "[null]"];
  equal(texts.map((text) => parse(text).map((frame) => frame.type ?? "none")), Array(6).fill(["none"]));
  equal(parse('{"type":"pong"}'), [{ type: "pong" }]);
});

test("an array is several frames", () => {
  equal(parse('[{"type":"reset"},{"type":"message"}]'), [{ type: "reset" }, { type: "message" }]);
});

test("a ref is a UUID and never the same", () => {
  ok(UUID4.test(newRef()), "a version 4 UUID");
  ok(newRef() !== newRef(), "two different ones");
});

test("a ref is a UUID also where the page is no secure context", () => {
  Object.defineProperty(crypto, "randomUUID", { value: undefined, configurable: true });
  const refs = Array.from({ length: 50 }, newRef);
  ok(refs.every((ref) => UUID4.test(ref)), "version 4 UUIDs");
  equal(new Set(refs).size, 50);
});
