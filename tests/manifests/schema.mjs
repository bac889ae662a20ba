// Checks documents against a JSON Schema.
//
//     node schema.mjs SCHEMA FILE...  prints a line `file: place: message` for each mistake, and exits
//                                     with 1 if it finds a mistake
//
// The packages are in target/proxies/node_modules.

import fs from "node:fs";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const modules = fileURLToPath(new URL("../../target/proxies/node_modules", import.meta.url));
const load = (file) => import(pathToFileURL(path.join(modules, file)).href);
const { default: module } = await load("ajv/dist/ajv.js");
const { default: yaml } = await load("yaml/dist/index.js");

const [schema, ...files] = process.argv.slice(2);
const Ajv = module.default ?? module;
// Formats such as `uint` have the same meaning as `minimum`, so validating them is not necessary.
const ajv = new Ajv({ allErrors: true, strict: true, validateFormats: false, strictTypes: false });
const validate = ajv.compile(JSON.parse(fs.readFileSync(schema, "utf8")));
let mistakes = 0;
for (const file of files) {
  if (!validate(yaml.parse(fs.readFileSync(file, "utf8")) ?? {})) {
    for (const { instancePath, message, params } of validate.errors) {
      mistakes += 1;
      const extra = params.additionalProperty ? ` (${params.additionalProperty})` : "";
      console.error(`${file}: ${instancePath || "/"}: ${message}${extra}`);
    }
  }
}
process.exit(mistakes ? 1 : 0);
