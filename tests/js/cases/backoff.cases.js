import { Backoff } from "/static/broadcast/backoff.js";
import { equal, ok, test } from "./harness.js";

const waits = (backoff, count) => Array.from({ length: count }, () => backoff.next());

test("the ceiling doubles with each attempt up to the cap", () => {
  const backoff = new Backoff({ firstMs: 500, capMs: 30_000, random: () => 1 });
  equal(waits(backoff, 8), [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
});

test("a thousand attempts do not pass the cap", () => {
  const backoff = new Backoff({ capMs: 30_000, random: () => 1 });
  ok(Math.max(...waits(backoff, 2000)) === 30_000, "the cap");
});

test("the jitter is full: from nothing up to the ceiling", () => {
  equal(waits(new Backoff({ random: () => 0 }), 3), [0, 0, 0]);
  equal(waits(new Backoff({ firstMs: 400, random: () => 0.25 }), 2), [100, 200]);
});

test("chance is the browser's own where none is given", () => {
  const backoff = new Backoff({ firstMs: 1000, capMs: 1000 });
  const many = waits(backoff, 200);
  ok(many.every((ms) => ms >= 0 && ms < 1000), "each within bounds");
  ok(new Set(many).size > 100, "many different ones");
});

test("a reset begins anew", () => {
  const backoff = new Backoff({ firstMs: 500, random: () => 1 });
  waits(backoff, 5);
  backoff.reset();
  equal(backoff.next(), 500);
});
