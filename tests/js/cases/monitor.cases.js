import { browserClock } from "/frontend/client/browser.js";
import { Monitor } from "/frontend/client/monitor.js";
import { Clock, Server, equal, pretend, test } from "./harness.js";

function watched(clock = new Clock()) {
  const told = [];
  const monitor = new Monitor({ clock, ping: () => told.push("ping"), stale: () => told.push("stale") });
  return { clock, told, monitor };
}

function live(clock) {
  const it = watched(clock);
  it.monitor.start();
  it.monitor.alive();
  return it;
}

test("a link that never shows life is stale after ten seconds", () => {
  const { clock, told, monitor } = watched();
  monitor.start();
  clock.pass(9_999);
  equal(told, []);
  clock.pass(1);
  equal(told, ["stale"]);
});

test("it asks after a silence, and gives up when no answer comes", () => {
  const { clock, told } = live();
  clock.pass(24_999);
  equal(told, []);
  clock.pass(1);
  equal(told, ["ping"]);
  clock.pass(10_000);
  equal(told, ["ping", "stale"]);
  equal(clock.pending, 0);
});

test("an answered ping keeps the link", () => {
  const { clock, told, monitor } = live();
  for (let i = 0; i < 3; i++) {
    clock.pass(25_000);
    monitor.alive();
  }
  equal(told, ["ping", "ping", "ping"]);
});

test("any traffic counts as life: a busy link is never asked", () => {
  const { clock, told, monitor } = live();
  for (let i = 0; i < 20; i++) {
    clock.pass(20_000);
    monitor.alive();
  }
  equal(told, []);
});

test("any traffic answers a ping", () => {
  const { clock, told, monitor } = live();
  clock.pass(25_000);
  clock.pass(9_000);
  monitor.alive();
  clock.pass(2_000);
  equal(told, ["ping"]);
});

test("a probe asks at once, and once", () => {
  const { clock, told, monitor } = live();
  clock.pass(1_000);
  monitor.probe();
  clock.pass(6_000);
  monitor.probe();
  clock.pass(4_000);
  equal(told, ["ping", "stale"]);
});

test("a stopped monitor is silent", () => {
  const { clock, told, monitor } = live();
  monitor.stop();
  clock.pass(1_000_000);
  equal(told, []);
  equal(clock.pending, 0);
});

test("a dead link is noticed as soon when the clock was set back", () => {
  const clock = new Clock();
  pretend({ server: new Server(), clock });
  const { told } = live(browserClock);
  clock.pass(5_000);
  clock.set(-3_600_000);
  clock.pass(20_000);
  equal(told, ["ping"]);
  clock.pass(10_000);
  equal(told, ["ping", "stale"]);
});

test("a sleep in which only the clock on the wall goes on is a sleep", () => {
  const { clock, told, monitor } = live();
  clock.pass(1_000);
  clock.set(3_600_000);
  monitor.probe();
  equal(told, ["stale"]);
});

test("a doubtful link is asked at once, also if it was asked before, and given up soon", () => {
  for (const asked of [false, true]) {
    const { clock, told, monitor } = live();
    if (asked) monitor.probe();
    monitor.doubt();
    equal(told.at(-1), "ping", asked);
    clock.pass(1_999);
    equal(told.includes("stale"), false, asked);
    clock.pass(1);
    equal(told.at(-1), "stale", asked);
  }
});

test("a doubtful link that answers is believed again", () => {
  const { clock, told, monitor } = live();
  monitor.doubt();
  monitor.alive();
  clock.pass(24_999);
  equal(told, ["ping"]);
});
