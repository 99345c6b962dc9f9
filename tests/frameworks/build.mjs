/** Bundles the apps beside this into a directory: `node tests/frameworks/build.mjs DIRECTORY [APP …]`. */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const [outdir, ...names] = process.argv.slice(2);
const FILES = { react: "react.jsx", preact: "preact.jsx", svelte: "svelte.svelte.js" };
const path = (name) => fileURLToPath(new URL(`apps/${FILES[name] ?? `${name}.js`}`, import.meta.url));

const svelte = {
  name: "svelte",
  setup({ onLoad }) {
    onLoad({ filter: /\.svelte(\.js)?$/ }, async ({ path: filename }) => {
      const { compile, compileModule } = await import("svelte/compiler");
      const source = await readFile(filename, "utf8");
      const compiled = filename.endsWith(".js") ? compileModule(source, { filename }) : compile(source, { filename });
      return { contents: compiled.js.code, loader: "js" };
    });
  },
};

await build({
  bundle: true,
  conditions: ["browser", "production"],
  define: { "process.env.NODE_ENV": '"production"', __VUE_OPTIONS_API__: "true", __VUE_PROD_DEVTOOLS__: "false" },
  entryPoints: Object.fromEntries(names.map((name) => [name, path(name)])),
  format: "esm",
  jsx: "automatic",
  legalComments: "none",
  logLevel: "error",
  minify: true,
  outdir,
  plugins: [svelte],
});
