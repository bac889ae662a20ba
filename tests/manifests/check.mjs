// Checks manifests against the published schemas of their kinds.
//
//     node check.mjs FILE...         prints a line `file: kind/name: path: message` for each mistake,
//                                    and exits with 1 if it finds a mistake
//     node check.mjs --json FILE...  prints the documents as {"FILE": [document, ...]}, without a check
//
// The packages of package.json are in target/proxies/node_modules.

import fs from "node:fs";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const modules = fileURLToPath(new URL("../../target/proxies/node_modules", import.meta.url));
const load = (file) => import(pathToFileURL(path.join(modules, file)).href);
const { default: ts } = await load("typescript/lib/typescript.js");
const { default: yaml } = await load("yaml/dist/index.js");

// The package with the schema of each API version. A document of an unknown kind is a mistake.
const SCHEMAS = {
  "v1": "kubernetes-models/v1",
  "networking.k8s.io/v1": "kubernetes-models/networking.k8s.io/v1",
  "admissionregistration.k8s.io/v1": "kubernetes-models/admissionregistration.k8s.io/v1",
  "monitoring.coreos.com/v1": "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1",
  "traefik.io/v1alpha1": "@kubernetes-models/traefik/traefik.io/v1alpha1",
  "networking.istio.io/v1": "@kubernetes-models/istio/networking.istio.io/v1",
  "networking.istio.io/v1alpha3": "@kubernetes-models/istio/networking.istio.io/v1alpha3",
  "security.istio.io/v1": "@kubernetes-models/istio/security.istio.io/v1",
  "gateway.networking.k8s.io/v1": "@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1",
  "gateway.networking.k8s.io/v1beta1": "@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1beta1",
  "projectcontour.io/v1": "@kubernetes-models/contour/projectcontour.io/v1",
  "projectcontour.io/v1alpha1": "@kubernetes-models/contour/projectcontour.io/v1alpha1",
  "gateway.envoyproxy.io/v1alpha1": "@kubernetes-models/envoy-gateway/gateway.envoyproxy.io/v1alpha1",
};

// Istio's mesh configuration has no published schema. These fields are from its reference.
// `!` marks a required field, `[]` a list, and `{}` a map.
const REQUEST_BODY_FIELDS = { maxRequestBytes: "number", allowPartialMessage: "boolean", packAsBytes: "boolean" };
const GRPC_FIELDS = {
  service: "string!",
  port: "number!",
  timeout: "duration",
  failOpen: "boolean",
  clearRouteCache: "boolean",
  statusOnError: "status",
  includeRequestBodyInCheck: REQUEST_BODY_FIELDS,
};
const HTTP_FIELDS = {
  ...GRPC_FIELDS,
  pathPrefix: "string",
  includeRequestHeadersInCheck: "string[]",
  includeAdditionalHeadersInCheck: "string{}",
  headersToUpstreamOnAllow: "string[]",
  headersToDownstreamOnDeny: "string[]",
  headersToDownstreamOnAllow: "string[]",
};
const PROVIDER_FIELDS = { name: "string!", envoyExtAuthzHttp: HTTP_FIELDS, envoyExtAuthzGrpc: GRPC_FIELDS };

const isMap = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const isType = {
  map: isMap,
  string: (value) => typeof value === "string",
  number: (value) => Number.isInteger(value),
  boolean: (value) => typeof value === "boolean",
  duration: (value) => typeof value === "string" && /^\d+(\.\d+)?s$/.test(value),
  status: (value) => typeof value === "string" && /^[1-5]\d\d$/.test(value),
};

function checkFields(value, fields, at, reportMistake) {
  if (!isMap(value)) return reportMistake(at, "is not a map");
  for (const [name, type] of Object.entries(fields)) {
    if (String(type).endsWith("!") && !(name in value)) reportMistake(at, `${name} is missing`);
  }
  for (const [name, field] of Object.entries(value)) {
    const here = at === "" ? name : `${at}.${name}`;
    const type = Object.hasOwn(fields, name) ? fields[name] : undefined;
    if (type === undefined) reportMistake(here, "unknown field");
    else if (isMap(type)) checkFields(field, type, here, reportMistake);
    else {
      const [, one, many] = type.match(/^(\w+)(\[\]|\{\})?!?$/);
      const fits = { "[]": Array.isArray, "{}": isMap }[many]?.(field) ?? true;
      const values = many ? Object.values(field ?? {}) : [field];
      if (!fits || !values.every(isType[one])) reportMistake(here, `is not ${one}${many ?? ""}`);
    }
  }
}

function checkMeshConfig(document, reportMistake) {
  checkFields(document, { meshConfig: { extensionProviders: "map[]!" } }, "", reportMistake);
  const providers = document.meshConfig?.extensionProviders;
  if (!Array.isArray(providers)) return;
  providers.forEach((provider, index) => {
    const at = `meshConfig.extensionProviders[${index}]`;
    checkFields(provider, PROVIDER_FIELDS, at, reportMistake);
    const kinds = Object.keys(provider ?? {}).filter((name) => name !== "name");
    if (kinds.length !== 1) reportMistake(at, "needs one of envoyExtAuthzHttp and envoyExtAuthzGrpc");
  });
}

// Reports the errors of the schema's validator: enumerations, patterns and required fields.
async function validate(document, schema, reportMistake) {
  const model = (await load(`${schema}/${document.kind}.js`))[document.kind];
  try {
    new model(document).validate();
  } catch (error) {
    if (!Array.isArray(error.errors)) throw error;
    for (const { instancePath, keyword, message } of error.errors) {
      const keys = instancePath.split("/").slice(1);
      const at = keys.reduce((at, key) => at + (/^\d+$/.test(key) ? `[${key}]` : `.${key}`), "").slice(1);
      // The schema of the package lacks this filter type, which is only in the experimental channel.
      const value = keys.reduce((value, key) => value?.[key], document);
      const isFilter = /^spec\.rules\[\d+\]\.filters\[\d+\]\.type$/.test(at);
      if (isFilter && keyword === "enum" && value === "ExternalAuth") continue;
      reportMistake(at, message);
    }
  }
}

// Reports the errors of the schema's types: unknown fields, and fields of a wrong type. For this, compiles a
// program in memory, in which each document is a typed constant.
function checkTypes(typedDocuments) {
  const sources = new Map();
  for (const [index, { document, schema }] of typedDocuments.entries()) {
    const text = `import type { I${document.kind} as T } from "${schema}/${document.kind}";
export const document: T = ${JSON.stringify(document)};`;
    sources.set(path.join(path.dirname(modules), `document-${index}.mts`), text);
  }
  const options = {
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    types: [],
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
  };
  const host = ts.createCompilerHost(options);
  const { fileExists, getSourceFile } = host;
  host.fileExists = (file) => sources.has(path.normalize(file)) || fileExists(file);
  host.getSourceFile = (file, version, ...rest) => {
    const text = sources.get(path.normalize(file));
    if (text === undefined) return getSourceFile(file, version, ...rest);
    return ts.createSourceFile(file, text, version, true);
  };
  const program = ts.createProgram([...sources.keys()], options, host);
  for (const [index, file] of [...sources.keys()].entries()) {
    const source = program.getSourceFile(file);
    for (const diagnostic of program.getSemanticDiagnostics(source)) {
      let message = diagnostic.messageText;
      while (typeof message !== "string") message = message.next?.at(-1) ?? message.messageText;
      const unknown = message.includes("may only specify known properties");
      const at = documentPath(source, diagnostic.start);
      // The schema of the package is that of Envoy Gateway 1.7. tests/kubernetes has a newer one.
      if (unknown && at === "spec.extAuth.statusOnError") continue;
      typedDocuments[index].reportMistake(at, unknown ? "unknown field" : message);
    }
  }
}

// Converts a position in the TypeScript text of a document into a path in the document.
function documentPath(source, position) {
  let at = "";
  const visit = (node) => {
    if (position < node.getStart(source) || position >= node.end) return;
    if (ts.isPropertyAssignment(node)) at += `.${node.name.text}`;
    if (ts.isArrayLiteralExpression(node.parent)) at += `[${node.parent.elements.indexOf(node)}]`;
    ts.forEachChild(node, visit);
  };
  ts.forEachChild(source, visit);
  return at.slice(1);
}

const [first, ...rest] = process.argv.slice(2);
const printOnly = first === "--json";
const files = printOnly ? rest : process.argv.slice(2);
const parsed = {};
const mistakes = new Map();
for (const file of files) {
  const documents = yaml.parseAllDocuments(fs.readFileSync(file, "utf8"), { merge: true });
  const broken = documents.flatMap(({ errors, warnings }) => [...errors, ...warnings]);
  for (const { message } of broken) mistakes.set(`${file}: ${message.split("\n")[0]}`, true);
  parsed[file] = broken.length > 0 ? [] : documents.map((document) => document.toJS());
}
if (printOnly) {
  console.log(JSON.stringify(parsed));
} else {
  const typedDocuments = [];
  for (const [file, document] of Object.entries(parsed).flatMap(([file, all]) => all.map((one) => [file, one]))) {
    const name = document?.kind ? `${document.kind}/${document.metadata?.name}` : "meshConfig";
    // Keeps only the first message for each path, because the types and the validator often find the same mistake.
    const reportMistake = (at, message) => {
      const location = `${file}: ${name}: ${at}`;
      if (!mistakes.has(location)) mistakes.set(location, message);
    };
    const schema = SCHEMAS[document?.apiVersion];
    if (isMap(document) && "meshConfig" in document) checkMeshConfig(document, reportMistake);
    else if (schema && fs.existsSync(path.join(modules, schema, `${document.kind}.js`))) {
      typedDocuments.push({ document, schema, reportMistake });
    } else reportMistake("kind", `no schema for ${document?.kind} of ${document?.apiVersion}`);
  }
  checkTypes(typedDocuments);
  for (const { document, schema, reportMistake } of typedDocuments) await validate(document, schema, reportMistake);
}

for (const [location, message] of mistakes) console.error(message === true ? location : `${location}: ${message}`);
if (files.length === 0) console.error("usage: node check.mjs [--json] FILE...");
if (mistakes.size > 0 || files.length === 0) process.exitCode = 1;
