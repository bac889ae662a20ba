// Tests the console with keyboard and mouse in a real Chromium.
import assert from "node:assert/strict";

import { assertAccessible, browser, settings, takeScreenshot, runCases, recordProblems } from "./chromium.mjs";

const context = await browser.newContext();
const page = await context.newPage();
recordProblems(page);
const appUrl = (path) => `${settings.admin}${path}`;

async function startSession(subject) {
  const headers = { authorization: `Bearer ${settings.admin_token}` };
  const answer = await context.request.post(appUrl("/api/v1/sessions"), { headers, data: { subject, attributes: { groups: ["staff"] } } });
  assert.equal(answer.status(), 201);
  return (await answer.json()).session.id;
}

const mainText = () => page.innerText("main");

await runCases({
  async "an operator signs in with a token, using only the keyboard"() {
    await page.goto(appUrl("/"));
    assert.equal(new URL(page.url()).pathname, "/console/sign-in");
    await assertAccessible(page, "the sign-in page");
    await page.keyboard.type("not a token");
    await page.keyboard.press("Enter");
    await page.getByRole("alert").waitFor();
    await assertAccessible(page, "the page after a wrong token");
    await page.getByLabel("Admin token").focus();
    await page.keyboard.type(settings.admin_token);
    await page.keyboard.press("Enter");
    await page.waitForURL(appUrl("/console/"));
    assert.match(await mainText(), /Nobody is signed in\./);
    const [cookie] = await context.cookies();
    assert(cookie.httpOnly && cookie.sameSite === "Lax" && !cookie.value.includes(settings.admin_token));
  },

  async "sessions are listed, and their remaining time counts down"() {
    for (const subject of ["alice", "alice", "bob", "zoë & <i>son</i>"]) await startSession(subject);
    await page.reload();
    assert.equal(await page.getByRole("row").count(), 5);
    assert.match(await mainText(), /zoë & <i>son<\/i>/);
    const cell = page.locator("[data-left]").first();
    const before = await cell.innerText();
    await page.waitForFunction((before) => document.querySelector("[data-left]").textContent !== before, before);
    assert.match(await cell.innerText(), /^\d+:\d\d(:\d\d)?$/);
    await assertAccessible(page, "the sessions");
    await takeScreenshot(page, "console", "light", { width: 1100, height: 480 });
  },

  async "a page lists the sessions of operators, and marks the session of this browser"() {
    await page.getByRole("link", { name: "Operators" }).click();
    assert.equal(await page.getByRole("row").count(), 2);
    assert.match(await mainText(), /token:[0-9a-f]{8} \(this session\)/);
    await assertAccessible(page, "the operators");
    const other = await (await browser.newContext()).newPage();
    await other.goto(appUrl("/console/sign-in"));
    await other.getByLabel("Admin token").fill(settings.admin_token);
    await other.getByRole("button", { name: "Sign in" }).click();
    await other.waitForURL(appUrl("/console/"));
    await page.reload();
    await page.getByRole("button", { name: "End a session of token:" }).click();
    await page.waitForURL(/console\/sessions\//);
    assert.match(await mainText(), /ended: revoked/);
    await assertAccessible(page, "an operator's session that has ended");
    await other.reload();
    assert.match(other.url(), /sign-in\?to=/);
    await other.context().close();
    await page.goto(appUrl("/console/"));
  },

  async "on a phone nothing is cut off"() {
    await page.setViewportSize({ width: 360, height: 640 });
    const isWider = await page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);
    assert.equal(isWider, false);
    await assertAccessible(page, "the sessions on a phone");
    await page.setViewportSize({ width: 1000, height: 700 });
  },

  async "an operator ends one session, then all sessions of a subject"() {
    await page.getByLabel("Subject").fill("alice");
    await page.keyboard.press("Enter");
    await page.waitForURL(/subject=alice/);
    assert.equal(await page.getByRole("row").count(), 3);
    await page.getByRole("button", { name: "End a session of alice" }).first().click();
    await page.waitForURL(/console\/sessions\//);
    assert.match(await mainText(), /ended: revoked/);
    await assertAccessible(page, "a session that has ended");
    await page.getByRole("link", { name: "All sessions of alice" }).click();
    await page.getByRole("button", { name: "End all sessions of alice" }).click();
    assert.match(await page.getByRole("status").innerText(), /One session was ended\./);
    assert.equal(await page.getByRole("button", { name: "End a session" }).count(), 0);
    await page.goto(appUrl("/console/?subject=nobody"));
    assert.match(await mainText(), /nobody has no sessions\./);
  },

  async "a request is explained for an existing and for a new session"() {
    await page.goto(appUrl("/console/"));
    await page.getByRole("link", { name: "bob" }).click();
    assert.match(await mainText(), /staff/);
    await page.getByLabel("URL").fill("https://app.example.com/orders");
    await page.keyboard.press("Enter");
    await page.getByRole("group", { name: "Explanation" }).waitFor();
    assert.match(await mainText(), /verdict\s+allow/);
    await assertAccessible(page, "an explanation");
    await page.getByRole("link", { name: "Policies" }).click();
    await page.getByLabel("URL").fill("https://app.example.com/health");
    await page.getByRole("button", { name: "Explain" }).click();
    assert.match(await mainText(), /access\s+public/);
    await assertAccessible(page, "the policies");
  },

  async "an emergency revocation shows the number of sessions before it starts"() {
    const id = await startSession("mallory");
    await page.goto(appUrl("/console/"));
    await page.getByRole("link", { name: "Revoke" }).click();
    await assertAccessible(page, "the form of a revocation");
    await page.getByLabel("Group").fill("nobody-is-in-it");
    await page.getByRole("button", { name: "Count sessions" }).click();
    await page.getByRole("button", { name: "End 0 sessions" }).waitFor();
    await assertAccessible(page, "the number of sessions of a revocation");
    await page.getByRole("link", { name: "Cancel" }).click();
    await page.getByRole("button", { name: "Count sessions" }).click();
    assert.match(await page.getByRole("alert").innerText(), /name a condition/);
    await page.getByLabel("Group").fill("nobody-is-in-it");
    await page.getByRole("button", { name: "Count sessions" }).click();
    await page.getByRole("button", { name: "End 0 sessions" }).click();
    assert.match(await mainText(), /in force on every known replica/);
    await assertAccessible(page, "the result of the revocation");
    await page.goto(appUrl(`/console/sessions/${id}`));
    assert.match(await mainText(), /State\s+live/);
  },

  async "the health page shows the state and recent events"() {
    await page.getByRole("link", { name: "Health" }).click();
    assert.match(await mainText(), /This replica\s+ready/);
    assert.match(await mainText(), /revoked/);
    await assertAccessible(page, "the health");
    await takeScreenshot(page, "console-health", "dark", { width: 1100, height: 560 });
  },

  async "another site can change nothing, and a sign-out ends the session"() {
    const id = await startSession("carol");
    const end = `/console/sessions/${id}/end`;
    for (const headers of [{ "sec-fetch-site": "cross-site" }, { origin: "https://evil.example" }, {}]) {
      assert.equal((await context.request.post(appUrl(end), { headers, maxRedirects: 0 })).status(), 403);
    }
    assert.equal((await context.request.get(appUrl(end))).status(), 405);
    const framed = await (await browser.newContext()).newPage();
    await framed.setContent(`<iframe src="${appUrl("/console/sign-in")}"></iframe>`);
    await framed.waitForTimeout(300);
    assert.equal(await framed.frames()[1].locator("form").count().catch(() => 0), 0, "no other site can frame the console");
    const stolen = (await context.cookies()).map((it) => `${it.name}=${it.value}`).join("; ");
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.waitForURL(/sign-in/);
    const thief = await fetch(appUrl("/console/"), { headers: { cookie: stolen }, redirect: "manual" });
    assert.equal(thief.status, 303, "a copy of the cookie gives no access");
    await page.goto(appUrl("/console/health"));
    assert.match(page.url(), /sign-in\?to=/);
    assert.deepEqual(await context.cookies(), []);
  },

  async "the console works without JavaScript"() {
    const contextWithoutScript = await browser.newContext({ javaScriptEnabled: false });
    const page = await contextWithoutScript.newPage();
    await page.goto(appUrl("/console/health"));
    await page.getByLabel("Admin token").fill(settings.admin_token);
    await page.getByRole("button", { name: "Sign in" }).click();
    assert.equal(new URL(page.url()).pathname, "/console/health");
    await page.getByRole("link", { name: "Sessions" }).click();
    await page.getByRole("button", { name: "End a session of carol" }).click();
    assert.match(await page.innerText("main"), /ended: revoked/);
    await contextWithoutScript.close();
  },
});
