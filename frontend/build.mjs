/**
 * Makes the files that the app serves from the sources beside this: `npm run build`.
 *
 * Each element becomes one script and one style sheet (for its root, or for where it stays in the page's tree), whole: a
 * hashed name and a cache for years are safe with them. The scripts of elements are classic ones, which need no CORS where
 * static files have an origin of their own; the client library is a module, for it has exports. A hash of the sources stands
 * at the head of each, by which tests see what is stale.
 */
import { createHash } from "node:crypto";
import { copyFile, readFile, readdir, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build, transform } from "esbuild";
import { OLDEST } from "./browsers.mjs";

const SOURCES = fileURLToPath(new URL(".", import.meta.url));
const STATIC = join(SOURCES, "../broadcast/static/broadcast");
const ELEMENTS = ["announcements", "bell", "feed"];
const TYPES = ["client/broadcast.d.ts", "elements/elements.d.ts", "elements/react.d.ts"];
const TARGET = ["chrome", "firefox", "safari"].map((browser) => browser + OLDEST[browser]);

/** The hash of all sources, by their paths in order: broadcast's tests compute the same. */
async function hashOfSources() {
  const found = await readdir(SOURCES, { recursive: true, withFileTypes: true });
  const paths = found.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name));
  const hash = createHash("sha256");
  for (const path of paths.map((path) => path.slice(SOURCES.length)).sort()) {
    hash.update(path).update("\0").update(await readFile(join(SOURCES, path))).update("\0");
  }
  return hash.digest("hex").slice(0, 16);
}

const minified = async (css) => (await transform(css, { loader: "css", minify: true, target: TARGET })).code.trim();

/** `import sheet from "./x.css" with { type: "css" }`, as browsers have it, for those that do not yet. */
const sheets = {
  name: "sheets",
  setup({ onLoad }) {
    onLoad({ filter: /\.css$/ }, async ({ path }) => {
      const css = JSON.stringify(await minified(await readFile(path, "utf8")));
      return { contents: `const sheet = new CSSStyleSheet();\nsheet.replaceSync(${css});\nexport default sheet;` };
    });
  },
};

/** The rules for an element that stays in the page's own tree: there the host is the element, and all the rest is within. */
function inPage(css, tag) {
  const keyframes = /^@keyframes [^{]+\{(?:[^{}]|\{[^{}]*\})*\}/gm;
  const host = /:host(?:\(((?:[^()]|\([^()]*\))*)\))?( &)?/g;
  const rules = css.replace(keyframes, "").replace(host, (_, which = "", nested) => (nested ? `${tag}${which} &` : `&${which}`));
  return `${tag} {\n${rules}\n}\n${css.match(keyframes)?.join("\n") ?? ""}`;
}

const banner = `/*! django-live-broadcast, BSD-3-Clause. Built by "npm run build" from sources ${await hashOfSources()}. */`;
const common = { bundle: true, minify: true, target: TARGET, banner: { js: banner }, outdir: STATIC, plugins: [sheets] };
const source = (path) => join(SOURCES, path);

await build({ ...common, format: "iife", entryPoints: ELEMENTS.map((name) => source(`elements/${name}.js`)) });
await build({ ...common, format: "esm", entryPoints: [source("client/broadcast.js")] });
for (const name of ELEMENTS) {
  const css = await readFile(source(`elements/${name}.css`), "utf8");
  for (const [file, rules] of Object.entries({ [name]: css, [`${name}-in-page`]: inPage(css, `broadcast-${name}`) })) {
    await writeFile(join(STATIC, `${file}.css`), `${banner}\n${await minified(rules)}\n`);
  }
}
for (const path of TYPES) await copyFile(source(path), join(STATIC, basename(path)));
