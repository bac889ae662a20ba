// Tests the console with keyboard and mouse in a real Chromium.
import assert from "node:assert/strict";

import { accessible, browser, given, picture, run, watch } from "./chromium.mjs";

const context = await browser.newContext();
const page = await context.newPage();
watch(page);
const here = (path) => `${given.admin}${path}`;

async function start(subject) {
  const headers = { authorization: `Bearer ${given.admin_token}` };
  const answer = await context.request.post(here("/api/v1/sessions"), { headers, data: { subject, attributes: { groups: ["staff"] } } });
  assert.equal(answer.status(), 201);
  return (await answer.json()).session.id;
}

const main = () => page.innerText("main");

await run({
  async "an operator signs in with a token, using only the keyboard"() {
    await page.goto(here("/"));
    assert.equal(new URL(page.url()).pathname, "/console/sign-in");
    await accessible(page, "the sign-in page");
    await page.keyboard.type("not a token");
    await page.keyboard.press("Enter");
    await page.getByRole("alert").waitFor();
    await accessible(page, "the page after a wrong token");
    await page.getByLabel("Admin token").focus();
    await page.keyboard.type(given.admin_token);
    await page.keyboard.press("Enter");
    await page.waitForURL(here("/console/"));
    assert.match(await main(), /Nobody is signed in\./);
    const [cookie] = await context.cookies();
    assert(cookie.httpOnly && cookie.sameSite === "Lax" && !cookie.value.includes(given.admin_token));
  },

  async "sessions are listed, and their remaining time counts down"() {
    for (const subject of ["alice", "alice", "bob", "zoë & <i>son</i>"]) await start(subject);
    await page.reload();
    assert.equal(await page.getByRole("row").count(), 5);
    assert.match(await main(), /zoë & <i>son<\/i>/);
    const cell = page.locator("[data-left]").first();
    const before = await cell.innerText();
    await page.waitForFunction((before) => document.querySelector("[data-left]").textContent !== before, before);
    assert.match(await cell.innerText(), /^\d+:\d\d(:\d\d)?$/);
    await accessible(page, "the sessions");
    await picture(page, "console", "light", { width: 1100, height: 480 });
  },

  async "operators are listed on their own page, with the own session marked"() {
    await page.getByRole("link", { name: "Operators" }).click();
    assert.equal(await page.getByRole("row").count(), 2);
    assert.match(await main(), /token:[0-9a-f]{8} \(this session\)/);
    await accessible(page, "the operators");
    const other = await (await browser.newContext()).newPage();
    await other.goto(here("/console/sign-in"));
    await other.getByLabel("Admin token").fill(given.admin_token);
    await other.getByRole("button", { name: "Sign in" }).click();
    await other.waitForURL(here("/console/"));
    await page.reload();
    await page.getByRole("button", { name: "End a session of token:" }).click();
    await page.waitForURL(/console\/sessions\//);
    assert.match(await main(), /ended: revoked/);
    await accessible(page, "an operator's session that has ended");
    await other.reload();
    assert.match(other.url(), /sign-in\?to=/);
    await other.context().close();
    await page.goto(here("/console/"));
  },

  async "on a phone nothing is cut off"() {
    await page.setViewportSize({ width: 360, height: 640 });
    const wider = await page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);
    assert.equal(wider, false);
    await accessible(page, "the sessions on a phone");
    await page.setViewportSize({ width: 1000, height: 700 });
  },

  async "an operator ends one session, then all sessions of a subject"() {
    await page.getByLabel("Subject").fill("alice");
    await page.keyboard.press("Enter");
    await page.waitForURL(/subject=alice/);
    assert.equal(await page.getByRole("row").count(), 3);
    await page.getByRole("button", { name: "End a session of alice" }).first().click();
    await page.waitForURL(/console\/sessions\//);
    assert.match(await main(), /ended: revoked/);
    await accessible(page, "a session that has ended");
    await page.getByRole("link", { name: "All sessions of alice" }).click();
    await page.getByRole("button", { name: "End all sessions of alice" }).click();
    assert.match(await page.getByRole("status").innerText(), /One session was ended\./);
    assert.equal(await page.getByRole("button", { name: "End a session" }).count(), 0);
    await page.goto(here("/console/?subject=nobody"));
    assert.match(await main(), /nobody has no sessions\./);
  },

  async "a request is explained for an existing and for a new session"() {
    await page.goto(here("/console/"));
    await page.getByRole("link", { name: "bob" }).click();
    assert.match(await main(), /staff/);
    await page.getByLabel("URL").fill("https://app.example.com/orders");
    await page.keyboard.press("Enter");
    await page.getByRole("group", { name: "Explanation" }).waitFor();
    assert.match(await main(), /verdict\s+allow/);
    await accessible(page, "an explanation");
    await page.getByRole("link", { name: "Policies" }).click();
    await page.getByLabel("URL").fill("https://app.example.com/health");
    await page.getByRole("button", { name: "Explain" }).click();
    assert.match(await main(), /access\s+public/);
    await accessible(page, "the policies");
  },

  async "an emergency revocation shows the number of sessions before it starts"() {
    const id = await start("mallory");
    await page.goto(here("/console/"));
    await page.getByRole("link", { name: "Revoke" }).click();
    await accessible(page, "the form of a revocation");
    await page.getByLabel("Group").fill("nobody-is-in-it");
    await page.getByRole("button", { name: "Count sessions" }).click();
    await page.getByRole("button", { name: "End 0 sessions" }).waitFor();
    await accessible(page, "the number of sessions of a revocation");
    await page.getByRole("link", { name: "Cancel" }).click();
    await page.getByRole("button", { name: "Count sessions" }).click();
    assert.match(await page.getByRole("alert").innerText(), /name a condition/);
    await page.getByLabel("Group").fill("nobody-is-in-it");
    await page.getByRole("button", { name: "Count sessions" }).click();
    await page.getByRole("button", { name: "End 0 sessions" }).click();
    assert.match(await main(), /in force on every known replica/);
    await accessible(page, "what was revoked");
    await page.goto(here(`/console/sessions/${id}`));
    assert.match(await main(), /State\s+live/);
  },

  async "the health page shows the state and recent events"() {
    await page.getByRole("link", { name: "Health" }).click();
    assert.match(await main(), /This replica\s+ready/);
    assert.match(await main(), /revoked/);
    await accessible(page, "the health");
    await picture(page, "console-health", "dark", { width: 1100, height: 560 });
  },

  async "another site can change nothing, and a sign-out ends the session"() {
    const id = await start("carol");
    const end = `/console/sessions/${id}/end`;
    for (const headers of [{ "sec-fetch-site": "cross-site" }, { origin: "https://evil.example" }, {}]) {
      assert.equal((await context.request.post(here(end), { headers, maxRedirects: 0 })).status(), 403);
    }
    assert.equal((await context.request.get(here(end))).status(), 405);
    const framed = await (await browser.newContext()).newPage();
    await framed.setContent(`<iframe src="${here("/console/sign-in")}"></iframe>`);
    await framed.waitForTimeout(300);
    assert.equal(await framed.frames()[1].locator("form").count().catch(() => 0), 0, "no other site can frame the console");
    const stolen = (await context.cookies()).map((it) => `${it.name}=${it.value}`).join("; ");
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.waitForURL(/sign-in/);
    const thief = await fetch(here("/console/"), { headers: { cookie: stolen }, redirect: "manual" });
    assert.equal(thief.status, 303, "a copy of the cookie gives no access");
    await page.goto(here("/console/health"));
    assert.match(page.url(), /sign-in\?to=/);
    assert.deepEqual(await context.cookies(), []);
  },

  async "the console works without JavaScript"() {
    const plain = await browser.newContext({ javaScriptEnabled: false });
    const page = await plain.newPage();
    await page.goto(here("/console/health"));
    await page.getByLabel("Admin token").fill(given.admin_token);
    await page.getByRole("button", { name: "Sign in" }).click();
    assert.equal(new URL(page.url()).pathname, "/console/health");
    await page.getByRole("link", { name: "Sessions" }).click();
    await page.getByRole("button", { name: "End a session of carol" }).click();
    assert.match(await page.innerText("main"), /ended: revoked/);
    await plain.close();
  },
});
