import { newRef } from "../client/broadcast.js";
import { make } from "./make.js";

const LEVELS = ["info", "success", "warning", "error"];
/** Where an announcement may lead, as the server has it: nothing that runs. */
const LINK = /^(https?:\/\/|mailto:|tel:|[/?#.]|[^:/?#\s]+([/?#]|$))\P{Cc}*$/iu;

/** One announcement as the server draws it too. It stays for `seconds`; an error, until it is dismissed. */
export function draw({ body, offset, epoch, group, ref, sent_at, data }, text, seconds) {
  const { level: named, title, url, timeout } = data ?? {};
  const level = LEVELS.includes(named) ? named : "info";
  const left = typeof timeout === "number" && timeout >= 0 ? timeout : level === "error" ? 0 : seconds;
  const head = typeof title === "string" && title;
  const linked = (words) => (typeof url === "string" && LINK.test(url) ? make("a", { href: url, part: "link" }, words) : words);
  return make(
    "article",
    {
      part: `card ${level}`,
      "data-level": level,
      "data-epoch": epoch,
      "data-offset": offset,
      "data-group": group,
      "data-ref": ref ?? newRef(),
      "data-left-ms": left * 1000,
    },
    make("span", { role: "img", "aria-label": text(level), "data-sign": true, part: "sign" }),
    make(
      "div",
      {},
      head && make("p", { "data-title": true, part: "title", dir: "auto" }, linked(head)),
      make("p", { "data-body": true, part: "body", dir: "auto" }, head ? body : linked(body)),
      make("time", { part: "time", datetime: sent_at ?? new Date().toISOString() }),
    ),
    make("button", { type: "button", part: "dismiss", "aria-label": text("dismiss_one", head || body) }),
  );
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
