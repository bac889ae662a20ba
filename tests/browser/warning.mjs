// Tests the warning dialog in a real Chromium, in tabs of an application that includes the warning script.
import assert from "node:assert/strict";
import { createServer } from "node:http";

import { assertAccessible, browser, findButton, findDialog, waitForSignedOutPage, settings, waitForNoDialog, takeScreenshot, runCases, waitForDialog, recordProblems } from "./chromium.mjs";

// The application shows a form. Its Content Security Policy blocks inline scripts and styles.
const POLICY = "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; base-uri 'none'";
createServer((request, response) => {
  response.setHeader("content-type", "text/html; charset=utf-8");
  response.setHeader("content-security-policy", POLICY);
  response.end(`<!doctype html><html lang="en"><title>Orders</title><main><h1>Orders</h1>
<label>Note <textarea id="note"></textarea></label></main>
<script src="/.curfew/warning.js" data-before="3" data-every="1" defer></script></html>`);
}).listen(settings.application, "127.0.0.1");

async function callAdminApi(method, path, body) {
  const headers = { authorization: `Bearer ${settings.admin_token}`, "content-type": "application/json" };
  const answer = await fetch(`${settings.admin}/api/v1/${path}`, { method, headers, body: JSON.stringify(body) });
  assert(answer.ok, `${method} ${path}: ${answer.status}`);
  return answer.json();
}

// Signs a person in, and opens this number of tabs.
async function openBrowser(tabs, policy = "default") {
  const { token, session } = await callAdminApi("POST", "sessions", { subject: "alice", policy });
  const context = await browser.newContext();
  await context.addCookies([{ name: "session", value: token, url: settings.url, httpOnly: true }]);
  const pages = [];
  for (let tab = 0; tab < tabs; tab++) {
    const page = await context.newPage();
    recordProblems(page);
    await page.goto(`${settings.url}/orders?page=2`);
    pages.push(page);
  }
  return { context, pages, session };
}

const cases = {
  async "the warning appears in every tab, and one answer is enough"() {
    const { context, pages: [one, two] } = await openBrowser(2);
    await Promise.all([waitForDialog(one), waitForDialog(two)]);
    await assert.match(await findDialog(one).innerText(), /signed out in 0:0[0-3]/);
    assert.equal(await one.evaluate(() => document.querySelector("curfew-warning").shadowRoot.activeElement.textContent), "Stay signed in");
    await findButton(one, "Stay signed in").click();
    await Promise.all([waitForNoDialog(one), waitForNoDialog(two)]);
    await waitForDialog(one);
    // Uses only the keyboard: Escape means "stay signed in", and Tab stays within the dialog.
    await one.keyboard.press("Tab");
    assert.equal(await one.evaluate(() => document.querySelector("curfew-warning").shadowRoot.activeElement.textContent), "Sign out");
    await one.keyboard.press("Escape");
    await Promise.all([waitForNoDialog(one), waitForNoDialog(two)]);
    await context.close();
  },

  async "the warning is accessible"() {
    const { context, pages: [page] } = await openBrowser(1);
    await waitForDialog(page);
    await assertAccessible(page, "the dialog");
    await takeScreenshot(page, "warning");
    await takeScreenshot(page, "warning-dark", "dark");
    await context.close();
  },

  async "typing is activity"() {
    const { context, pages: [page] } = await openBrowser(1);
    await page.focus("#note");
    const until = Date.now() + 9000;
    while (Date.now() < until) {
      await page.keyboard.type("a");
      await page.waitForTimeout(200);
      assert.equal(await findDialog(page).isVisible(), false, "no dialog while the person types");
    }
    await context.close();
  },

  async "a sign-out in one tab signs out all tabs"() {
    const { context, pages: [one, two] } = await openBrowser(2);
    await waitForDialog(one);
    await findButton(one, "Sign out").click();
    await Promise.all([waitForSignedOutPage(one, "signed_out"), waitForSignedOutPage(two, "signed_out")]);
    assert.match(await two.innerText("main"), /You have signed out/);
    assert.deepEqual(await context.cookies(), [], "the cookie is cleared");
    assert.equal((await one.goto(`${settings.url}/orders`)).status(), 401);
    await context.close();
  },

  async "an absent person sees the reason, and can return to the page"() {
    const { context, pages: [one, two] } = await openBrowser(2);
    await Promise.all([waitForSignedOutPage(one, "idle_timeout"), waitForSignedOutPage(two, "idle_timeout")]);
    assert.match(await one.innerText("main"), /was not used for a while/);
    assert.equal(await one.getByRole("link", { name: "Sign in again" }).getAttribute("href"), "/orders?page=2");
    await assertAccessible(one, "the page");
    await takeScreenshot(one, "signed-out");
    await context.close();
  },

  async "activity does not extend the absolute limit, and the text says so"() {
    const { context, pages: [page] } = await openBrowser(1, "brief");
    await waitForDialog(page);
    assert.match(await findDialog(page).innerText(), /maximum duration/);
    await findButton(page, "Close").click();
    await waitForNoDialog(page);
    await page.waitForTimeout(500);
    assert.equal(await findDialog(page).isVisible(), false, "the dialog appears once");
    await waitForSignedOutPage(page, "absolute_timeout");
    await context.close();
  },

  async "a revocation is noticed"() {
    const { context, pages: [page], session } = await openBrowser(1);
    await callAdminApi("DELETE", `sessions/${session.id}`);
    await waitForSignedOutPage(page, "revoked");
    await context.close();
  },
};

await runCases(cases);
