// Tests the warning in a real Chromium, in two tabs of an application that includes the script. Prints one line for
// each step, and stops at the first fault.
import assert from "node:assert/strict";
import { createServer } from "node:http";

import { accessible, browser, button, dialog, ended, given, hidden, picture, run, shown, watch } from "./chromium.mjs";

// The application shows a form. Its Content Security Policy blocks inline scripts and styles.
const POLICY = "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; base-uri 'none'";
createServer((request, response) => {
  response.setHeader("content-type", "text/html; charset=utf-8");
  response.setHeader("content-security-policy", POLICY);
  response.end(`<!doctype html><html lang="en"><title>Orders</title><main><h1>Orders</h1>
<label>Note <textarea id="note"></textarea></label></main>
<script src="/.curfew/warning.js" data-before="3" data-every="1" defer></script></html>`);
}).listen(given.application, "127.0.0.1");

async function api(method, path, body) {
  const headers = { authorization: `Bearer ${given.admin_token}`, "content-type": "application/json" };
  const answer = await fetch(`${given.admin}/api/v1/${path}`, { method, headers, body: JSON.stringify(body) });
  assert(answer.ok, `${method} ${path}: ${answer.status}`);
  return answer.json();
}

// Signs a person in, and opens this number of tabs.
async function person(tabs, policy = "default") {
  const { token, session } = await api("POST", "sessions", { subject: "alice", policy });
  const context = await browser.newContext();
  await context.addCookies([{ name: "session", value: token, url: given.url, httpOnly: true }]);
  const pages = [];
  for (let tab = 0; tab < tabs; tab++) {
    const page = await context.newPage();
    watch(page);
    await page.goto(`${given.url}/orders?page=2`);
    pages.push(page);
  }
  return { context, pages, session };
}

const cases = {
  async "the warning appears in every tab, and one answer is enough"() {
    const { context, pages: [one, two] } = await person(2);
    await Promise.all([shown(one), shown(two)]);
    await assert.match(await dialog(one).innerText(), /signed out in 0:0[0-3]/);
    assert.equal(await one.evaluate(() => document.querySelector("curfew-warning").shadowRoot.activeElement.textContent), "Stay signed in");
    await button(one, "Stay signed in").click();
    await Promise.all([hidden(one), hidden(two)]);
    await shown(one);
    // Uses only the keyboard: Escape means "stay signed in", and Tab stays within the dialog.
    await one.keyboard.press("Tab");
    assert.equal(await one.evaluate(() => document.querySelector("curfew-warning").shadowRoot.activeElement.textContent), "Sign out");
    await one.keyboard.press("Escape");
    await Promise.all([hidden(one), hidden(two)]);
    await context.close();
  },

  async "the warning is accessible"() {
    const { context, pages: [page] } = await person(1);
    await shown(page);
    await accessible(page, "the dialog");
    await picture(page, "warning");
    await picture(page, "warning-dark", "dark");
    await context.close();
  },

  async "typing is activity"() {
    const { context, pages: [page] } = await person(1);
    await page.focus("#note");
    const until = Date.now() + 9000;
    while (Date.now() < until) {
      await page.keyboard.type("a");
      await page.waitForTimeout(200);
      assert.equal(await dialog(page).isVisible(), false, "no dialog while the person types");
    }
    await context.close();
  },

  async "a sign-out in one tab signs out all tabs"() {
    const { context, pages: [one, two] } = await person(2);
    await shown(one);
    await button(one, "Sign out").click();
    await Promise.all([ended(one, "signed_out"), ended(two, "signed_out")]);
    assert.match(await two.innerText("main"), /You have signed out/);
    assert.deepEqual(await context.cookies(), [], "the cookie is cleared");
    assert.equal((await one.goto(`${given.url}/orders`)).status(), 401);
    await context.close();
  },

  async "an absent person sees the reason, and can return to the page"() {
    const { context, pages: [one, two] } = await person(2);
    await Promise.all([ended(one, "idle_timeout"), ended(two, "idle_timeout")]);
    assert.match(await one.innerText("main"), /was not used for a while/);
    assert.equal(await one.getByRole("link", { name: "Sign in again" }).getAttribute("href"), "/orders?page=2");
    await accessible(one, "the page");
    await picture(one, "signed-out");
    await context.close();
  },

  async "activity does not extend the absolute limit, and the text says so"() {
    const { context, pages: [page] } = await person(1, "brief");
    await shown(page);
    assert.match(await dialog(page).innerText(), /maximum duration/);
    await button(page, "Close").click();
    await hidden(page);
    await page.waitForTimeout(500);
    assert.equal(await dialog(page).isVisible(), false, "the dialog appears once");
    await ended(page, "absolute_timeout");
    await context.close();
  },

  async "a revocation is noticed"() {
    const { context, pages: [page], session } = await person(1);
    await api("DELETE", `sessions/${session.id}`);
    await ended(page, "revoked");
    await context.close();
  },
};

await run(cases);
