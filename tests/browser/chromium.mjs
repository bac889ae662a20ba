// The scripts share this module. It starts Chromium, checks pages, and runs the cases.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { mkdirSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

export const given = JSON.parse(process.env.BROWSER);
const require = createRequire(given.packages + "/");
const { chromium } = require("playwright-core");
const axe = require("axe-core");

export const browser = await chromium.launch({ executablePath: given.chromium, args: ["--no-sandbox"] });
const problems = [];
const watched = [];

// Records the faults of a page: exceptions, and violations of its Content Security Policy.
export function watch(page) {
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("console", (line) => {
    if (/Content Security Policy/.test(line.text())) problems.push(line.text());
  });
  // The report of a failed case shows these requests and navigations.
  const seen = { requests: new Map(), navigations: [] };
  watched.push([page, seen]);
  page.on("request", (request) => seen.requests.set(request, Date.now()));
  for (const over of ["requestfinished", "requestfailed"]) page.on(over, (request) => seen.requests.delete(request));
  page.on("framenavigated", (frame) => frame === page.mainFrame() && seen.navigations.push(frame.url()));
}

// Prints the text of each open page, its last addresses, and its requests without a response.
async function describe() {
  for (const [page, { requests, navigations }] of watched.filter(([page]) => !page.isClosed())) {
    const text = await Promise.race([page.innerText("body").catch(String), sleep(5000, "no text within 5 s")]);
    const pending = [...requests].map(([it, since]) => `${it.method()} ${it.url()} for ${Date.now() - since} ms`);
    console.log(`open page: ${page.url()}\n${text.slice(0, 2000)}`);
    console.log("navigations:", navigations.slice(-5), "requests without a response:", pending);
  }
}

export const dialog = (page) => page.getByRole("alertdialog");
export const button = (page, name) => dialog(page).getByRole("button", { name });
export const shown = (page, timeout = 60000) => dialog(page).waitFor({ state: "visible", timeout });
export const hidden = (page) => dialog(page).waitFor({ state: "hidden", timeout: 30000 });
export const ended = (page, reason, timeout = 60000) =>
  page.waitForURL((url) => url.pathname === "/.curfew/signed-out" && url.searchParams.get("reason") === reason, { timeout });

export async function accessible(page, what) {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => window.axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"] }));
  assert.deepEqual(violations.map(({ id, nodes }) => [id, nodes.map((node) => node.html)]), [], what);
  console.log(`axe-core finds nothing: ${what}`);
}

export async function picture(page, name, colorScheme = "light", size = { width: 720, height: 420 }) {
  if (!given.pictures) return;
  mkdirSync(given.pictures, { recursive: true });
  await page.emulateMedia({ colorScheme });
  await page.setViewportSize(size);
  await page.screenshot({ path: `${given.pictures}/${name}.png` });
}

// Runs all cases, and ends the process.
export async function run(cases) {
  for (const [name, run] of Object.entries(cases)) {
    try {
      await run();
    } catch (error) {
      console.log(`failed: ${name}`);
      await describe();
      throw error;
    }
    console.log(`ok: ${name}`);
  }
  assert.deepEqual(problems, [], "pages should have no exceptions and no violations of their Content Security Policy");
  await browser.close();
  process.exit(0);
}
