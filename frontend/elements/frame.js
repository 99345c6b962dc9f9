import { make } from "./make.js";

/** The parts of a feed that was written by hand, as the tag's template has them. */
export function frame(text) {
  return make(
    "div",
    { "data-frame": true, part: "frame" },
    make(
      "header",
      { part: "header" },
      make(
        "div",
        { "data-state-line": true, part: "state" },
        make("p", { role: "status", "data-status": true }),
        make("span", { "aria-hidden": "true", "data-countdown": true }),
        make("button", { type: "button", "data-retry": true, hidden: true }, text("retry")),
      ),
    ),
    make(
      "div",
      { "data-view": true },
      make(
        "div",
        { role: "region", "aria-label": text("messages"), tabindex: 0, "data-scroller": true, part: "messages" },
        make(
          "div",
          {},
          make("p", { "data-empty": true, part: "empty" }, text("empty")),
          make("div", { role: "log", "aria-label": text("news") }, make("ol", { "data-messages": true })),
          make("ol", { "aria-label": text("pending"), "data-pending": true }),
        ),
      ),
      make("button", { type: "button", "data-jump": true, part: "jump", hidden: true }),
    ),
  );
}

/** The box to write in: for a guest, whose name is empty, with one for a name. */
export function form(text, user) {
  const name = () => make("input", { name: "author", maxlength: 80, dir: "auto", autocomplete: "nickname" });
  return make(
    "form",
    { autocomplete: "off", part: "form", "hx-boost": "false", "data-turbo": "false" },
    make(
      "div",
      { "data-as": true },
      user
        ? make("span", {}, `${text("as")} `, make("b", { dir: "auto" }, user))
        : make("label", {}, `${text("name")} `, name()),
    ),
    make(
      "div",
      { "data-field": true, part: "field" },
      make("textarea", {
        name: "body",
        rows: 1,
        dir: "auto",
        placeholder: text("write"),
        "aria-label": text("message"),
        enterkeyhint: "send",
      }),
      make("button", { type: "submit", part: "send", "aria-label": text("send"), title: text("send") }),
    ),
    make(
      "div",
      { "data-below": true },
      make("p", { role: "alert", "data-notice": true }),
      make("p", { "data-keys": true }, text("keys")),
      make("p", { "aria-hidden": "true", "data-counter": true }),
    ),
  );
}
