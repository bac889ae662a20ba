// All browser scripts use this module. It starts Chromium, inspects pages, and runs the cases.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { mkdirSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

export const settings = JSON.parse(process.env.BROWSER);
const require = createRequire(settings.packages + "/");
const { chromium } = require("playwright-core");
const axe = require("axe-core");

export const browser = await chromium.launch({ executablePath: settings.chromium, args: ["--no-sandbox"] });
const pageProblems = [];
const openPages = [];

// Records the faults of a page: exceptions, and violations of its Content Security Policy.
export function recordProblems(page) {
  page.on("pageerror", (error) => pageProblems.push(String(error)));
  page.on("console", (line) => {
    if (/Content Security Policy/.test(line.text())) pageProblems.push(line.text());
  });
  // The report of a failed case shows these requests and navigations.
  const seen = { requests: new Map(), navigations: [] };
  openPages.push([page, seen]);
  page.on("request", (request) => seen.requests.set(request, Date.now()));
  for (const endEvent of ["requestfinished", "requestfailed"]) page.on(endEvent, (request) => seen.requests.delete(request));
  page.on("framenavigated", (frame) => frame === page.mainFrame() && seen.navigations.push(frame.url()));
  page.on("response", (response) => {
    const isRedirect = response.status() >= 300 && response.status() < 400;
    if (isRedirect && response.request().isNavigationRequest()) {
      seen.navigations.push(`${response.status()} ${response.url()} to ${response.headers().location}`);
    }
  });
}

// Prints the text of each open page, its last addresses and redirects, and its requests without a response.
async function describeOpenPages() {
  for (const [page, { requests, navigations }] of openPages.filter(([page]) => !page.isClosed())) {
    const text = await Promise.race([page.innerText("body").catch(String), sleep(5000, "no text within 5 s")]);
    const pending = [...requests].map(([it, since]) => `${it.method()} ${it.url()} for ${Date.now() - since} ms`);
    console.log(`open page: ${page.url()}\n${text.slice(0, 2000)}`);
    console.log("navigations:", navigations.slice(-15), "requests without a response:", pending);
  }
}

export const findDialog = (page) => page.getByRole("alertdialog");
export const findButton = (page, name) => findDialog(page).getByRole("button", { name });
export const waitForDialog = (page, timeout = 60000) => findDialog(page).waitFor({ state: "visible", timeout });
export const waitForNoDialog = (page) => findDialog(page).waitFor({ state: "hidden", timeout: 30000 });
export const waitForSignedOutPage = (page, reason, timeout = 60000) =>
  page.waitForURL((url) => url.pathname === "/.curfew/signed-out" && url.searchParams.get("reason") === reason, { timeout });

export async function assertAccessible(page, what) {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => window.axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"] }));
  assert.deepEqual(violations.map(({ id, nodes }) => [id, nodes.map((node) => node.html)]), [], what);
  console.log(`axe-core finds nothing: ${what}`);
}

export async function takeScreenshot(page, name, colorScheme = "light", size = { width: 720, height: 420 }) {
  if (!settings.pictures) return;
  mkdirSync(settings.pictures, { recursive: true });
  await page.emulateMedia({ colorScheme });
  await page.setViewportSize(size);
  await page.screenshot({ path: `${settings.pictures}/${name}.png` });
}

// Runs all cases, and ends the process.
export async function runCases(cases) {
  for (const [name, run] of Object.entries(cases)) {
    try {
      await run();
    } catch (error) {
      console.log(`failed: ${name}`);
      await describeOpenPages();
      throw error;
    }
    console.log(`ok: ${name}`);
  }
  assert.deepEqual(pageProblems, [], "pages should have no exceptions and no violations of their Content Security Policy");
  await browser.close();
  process.exit(0);
}
