/**
 * A rule of ESLint: nothing is used that one of the oldest browsers lacks, by MDN's browser-compat-data.
 *
 * What is used is told by its name. A name that several interfaces have (`map`, `open`) is reported only if a browser has
 * it nowhere, and one that the scripts define themselves not at all; syntax is the bundler's business, which knows the
 * same browsers.
 */
import { readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { parse } from "espree";
import { OLDEST } from "../../frontend/browsers.mjs";

const { api, css, javascript } = createRequire(import.meta.url)("@mdn/browser-compat-data");

const number = (version) => Number.parseFloat(String(version).replace("≤", ""));

/** Whether a browser has it since that version or longer, as the standard says: without a flag, prefix or other name. */
const isSupport = (version) => (one) =>
  number(one.version_added) <= number(version) &&
  !(number(one.version_removed) <= number(version)) &&
  !(one.flags ?? one.prefix ?? one.alternative_name);

const lacking = (entry) =>
  Object.keys(OLDEST).filter((browser) => ![entry.__compat.support[browser]].flat().some(isSupport(OLDEST[browser])));

/** Every entry below a part of the data, by its name: without what tells statics and events from others. */
function index(part, found = new Map()) {
  for (const [name, entry] of Object.entries(part)) {
    if (name === "__compat") continue;
    const key = name.replace(/_static$/, "");
    if (entry.__compat) found.set(key, [...(found.get(key) ?? []), entry]);
    index(entry, found);
  }
  return found;
}

const hyphenated = (name) => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

const scripts = index({ api, builtins: javascript.builtins });
const types = index(css.types);

/** The browsers that have none of these. */
const lackingAll = (entries = []) =>
  entries.length ? lacking(entries[0]).filter((browser) => entries.every((entry) => lacking(entry).includes(browser))) : [];

const reporter = (context) => (node, name, entries) => {
  const browsers = lackingAll(entries.filter((entry) => entry?.__compat));
  if (!browsers.length || name in (context.options[0] ?? {})) return;
  const versions = browsers.map((browser) => `${browser} ${OLDEST[browser]}`).join(", ");
  context.report({ node, message: `${name} is not in ${versions}.` });
};

/** Names that are to be let pass, each with the reason. */
const schema = [{ type: "object", additionalProperties: { type: "string" } }];

/** The names of members that the scripts of a folder define: of classes, of objects that they write down, and of `this`. */
export function defined(folder) {
  const names = new Set();
  const visit = (node, parent) => {
    if (!node?.type) return;
    const isMember = ["MethodDefinition", "PropertyDefinition"].includes(node.type);
    const isOwn = node.type === "AssignmentExpression" && node.left.object?.type === "ThisExpression";
    if (isMember || (node.type === "Property" && parent.type === "ObjectExpression")) names.add(node.key.name);
    if (isOwn) names.add(node.left.property.name);
    for (const child of Object.values(node)) [child].flat().forEach((one) => visit(one, node));
  };
  for (const name of readdirSync(folder, { recursive: true }).filter((name) => name.endsWith(".js"))) {
    visit(parse(readFileSync(join(folder, name), "utf8"), { ecmaVersion: "latest", sourceType: "module" }));
  }
  return [...names].filter(Boolean);
}

/** The interface of an object that every page has. */
const interfaceOf = (name) => api[name[0].toUpperCase() + name.slice(1)] ?? javascript.builtins[name];

const script = {
  meta: { type: "problem", schema },
  create(context) {
    const report = reporter(context);
    const globals = new Set();
    return {
      Program(node) {
        const { through, variables } = context.sourceCode.getScope(node);
        const builtIn = variables.filter(({ defs }) => !defs.length);
        for (const { identifier } of [...through, ...builtIn.flatMap(({ references }) => references)]) {
          const { name } = identifier;
          globals.add(identifier);
          report(identifier, name, [api[name], javascript.builtins[name], api.Window[name]]);
        }
      },
      // What is called with `?.()` is asked for first.
      ":not(CallExpression[optional=true]) > MemberExpression[computed=false] > Identifier.property"(node) {
        const { object } = node.parent;
        if (object.property?.name === "style") return report(node, node.name, [css.properties[hyphenated(node.name)]]);
        const owner = globals.has(object) ? interfaceOf(object.name) : undefined;
        const known = owner?.[`${node.name}_static`] ?? owner?.[node.name];
        return report(node, node.name, known ? [known] : scripts.get(node.name) ?? []);
      },
      "CallExpression:matches([callee.name=addEventListener], [callee.property.name=addEventListener]) > Literal"(node) {
        report(node, node.value, scripts.get(`${node.value}_event`) ?? []);
      },
    };
  },
};

const style = {
  meta: { type: "problem", schema, languages: ["css/css"] },
  create(context) {
    const tell = reporter(context);
    let conditions = 0;
    let declared = null;
    const report = (node, name, entries) => conditions || tell(node, name, entries);
    return {
      // There the style sheet asks by itself.
      "Atrule[name=supports]": () => conditions++,
      "Atrule[name=supports]:exit": () => conditions--,
      Atrule(node) {
        report(node, `@${node.name}`, [css["at-rules"][node.name]]);
      },
      Feature(node) {
        report(node, `(${node.name})`, [css["at-rules"].media[node.name]]);
      },
      Declaration(node) {
        declared = node.property;
        report(node, declared, [css.properties[declared]]);
      },
      "Declaration:exit": () => (declared = null),
      "Declaration Identifier"(node) {
        const entry = css.properties[declared];
        if (entry && !lackingAll([entry]).length) report(node, `${declared}: ${node.name}`, [entry[node.name]]);
      },
      Function(node) {
        const own = css.properties[declared]?.[node.name];
        report(node, `${node.name}()`, own ? [own] : types.get(node.name) ?? []);
      },
      ":matches(PseudoClassSelector, PseudoElementSelector)"(node) {
        report(node, `:${node.name}`, [css.selectors[node.name]]);
      },
    };
  },
};

export default { rules: { script, style } };
