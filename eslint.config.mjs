/** Looks for what the oldest browsers of frontend/browsers.mjs lack: `npm run lint`, at the root of the repository. */
import css from "@eslint/css";
import compat, { defined } from "./tests/js/compat.mjs";

/** Names of the app's own that some interface of newer browsers has too: what its scripts define, and words of the wire. */
const ours = {
  ...Object.fromEntries(defined("frontend").map((name) => [name, "defined here"])),
  lost: "of a reset",
  properties: "of the classes of elements",
  side: "of where a list opens: `data-side`",
};

/** What some browser lacks, and nobody misses there. */
const enhancements = {
  "cursor: pointer": "there is no pointer on a phone",
  "field-sizing": "without it the box does not grow and scrolls instead",
  "forced-color-adjust": "without it the dot takes the reader's colours; words say the same",
  "overflow-anchor": "it keeps browsers from anchoring by themselves; those without it do not",
  resize: "nothing is resized by hand on a phone",
  "text-align: match-parent": "Chrome has it with a prefix, which stands before it",
  "user-select": "Safari has it with a prefix, which the bundler adds",
};

export default [
  { files: ["frontend/**/*.js"], plugins: { compat }, rules: { "compat/script": ["error", ours] } },
  {
    files: ["frontend/**/*.css"],
    plugins: { css, compat },
    language: "css/css",
    rules: { "compat/style": ["error", enhancements] },
  },
];
