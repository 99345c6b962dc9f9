import { newRef } from "../client/browser.js";
import { make } from "./make.js";
import { localise } from "./moment.js";

const LEVELS = ["info", "success", "warning", "error"];
/** Where an announcement may lead, as the server has it: nothing that runs. */
const LINK = /^(https?:\/\/|mailto:|tel:|[/?#.]|[^:/?#\s]+([/?#]|$))\P{Cc}*$/iu;

/** What is shown of one: its level, its sign, and its words with the time at which it was sent. */
export function parts({ body, sent_at, data }, text) {
  const { level: named, title, url } = data ?? {};
  const level = LEVELS.includes(named) ? named : "info";
  const head = typeof title === "string" && title;
  const linked = (words) => (typeof url === "string" && LINK.test(url) ? make("a", { href: url, part: "link" }, words) : words);
  const sign = make("span", { role: "img", "aria-label": text(level), "data-sign": true, part: "sign" });
  const time = make("time", { part: "time", datetime: sent_at ?? new Date().toISOString() });
  localise(time);
  const words = make(
    "div",
    {},
    head && make("p", { "data-title": true, part: "title", dir: "auto" }, linked(head)),
    make("p", { "data-body": true, part: "body", dir: "auto" }, head ? body : linked(body)),
    time,
  );
  return { level, head, sign, words };
}

/** One announcement as the server draws it too. It stays for `seconds`; an error, until it is dismissed. */
export function draw(one, text, seconds) {
  const { level, head, sign, words } = parts(one, text);
  const { body, offset, epoch, group, ref, data } = one;
  const timeout = data?.timeout;
  const left = typeof timeout === "number" && timeout >= 0 ? timeout : level === "error" ? 0 : seconds;
  const attributes = {
    part: `card ${level}`,
    "data-level": level,
    "data-epoch": epoch,
    "data-offset": offset,
    "data-group": group,
    "data-ref": ref ?? newRef(),
    "data-left-ms": left * 1000,
  };
  const dismiss = make("button", { type: "button", part: "dismiss", "aria-label": text("dismiss_one", head || body) });
  return make("article", attributes, sign, words, dismiss);
}

/** Which of two is shown if there is room for one: the higher. */
export function rankOf({ dataset: { level, leftMs } }) {
  if (level === "error") return 3;
  if (Number(leftMs) === 0) return 2;
  return level === "warning" ? 1 : 0;
}

export const isUrgent = ({ dataset: { level } }) => level === "warning" || level === "error";

/** What a screen reader says of one. */
export function spoken(card) {
  const words = (selector) => card.querySelector(selector)?.textContent ?? "";
  const level = card.querySelector("[data-sign]").getAttribute("aria-label");
  return [level, words("[data-title]"), words("[data-body]")].filter(Boolean).join(". ");
}

/** What is known of a card or a frame in every copy of it; nothing of a card that a site drew by itself. */
export const keyOf = ({ epoch, offset, ref }) => (offset ? `${epoch}:${offset}` : ref);
