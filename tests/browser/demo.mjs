// Tests `curfew demo` as a new user sees it, in a real Chromium.
import assert from "node:assert/strict";

import { assertAccessible, browser, findButton, waitForSignedOutPage, settings, takeScreenshot, runCases, waitForDialog, recordProblems } from "./chromium.mjs";

const context = await browser.newContext();
const page = await context.newPage();
recordProblems(page);

async function signIn() {
  await page.getByLabel("Name").fill("zoë");
  await page.getByRole("button", { name: "Sign in" }).click();
}

await runCases({
  async "a visitor must sign in, and returns to the requested page"() {
    await page.goto(`${settings.url}/?order=7`);
    assert.equal(new URL(page.url()).pathname, "/sign-in");
    await assertAccessible(page, "the sign-in page");
    await takeScreenshot(page, "demo-sign-in");
    await signIn();
    assert.equal(page.url(), `${settings.url}/?order=7`);
    assert.match(await page.innerText("main"), /signed in as zoë/);
    await assertAccessible(page, "the application");
    await takeScreenshot(page, "demo");
  },

  async "the console at the printed address shows the session"() {
    const operator = await (await browser.newContext()).newPage();
    await operator.goto(settings.console);
    await operator.getByLabel("Admin token").fill(settings.token);
    await operator.getByRole("button", { name: "Sign in" }).click();
    await operator.getByRole("link", { name: "zoë" }).waitFor();
    await operator.context().close();
  },

  async "the page warns, and signs out an idle person"() {
    await waitForDialog(page, 15000);
    await waitForSignedOutPage(page, "idle_timeout", 60000);
    await page.getByRole("link", { name: "Sign in again" }).click();
    await signIn();
    assert.equal(page.url(), `${settings.url}/?order=7`);
  },

  async "the form and the dialog both sign out"() {
    await page.getByRole("button", { name: "Sign out" }).click();
    await waitForSignedOutPage(page, "signed_out");
    await page.goto(`${settings.url}/`);
    await signIn();
    await waitForDialog(page, 15000);
    await findButton(page, "Sign out").click();
    await waitForSignedOutPage(page, "signed_out");
    assert.deepEqual(await context.cookies(), []);
  },

  async "no other site can sign a person in, or redirect them elsewhere"() {
    const form = { subject: "mallory", rd: `${settings.url}/` };
    for (const headers of [{ origin: "https://evil.example" }, { "sec-fetch-site": "cross-site" }, {}]) {
      const answer = await context.request.post(`${settings.url}/sign-in`, { form, headers, maxRedirects: 0 });
      assert.equal(answer.status(), 403, JSON.stringify(headers));
    }
    for (const rd of ["https://evil.example/", "//evil.example", "https://evil.example//evil.example", "javascript:alert(1)"]) {
      const headers = { "sec-fetch-site": "same-origin" };
      const answer = await context.request.post(`${settings.url}/sign-in`, { form: { subject: "alice", rd }, headers, maxRedirects: 0 });
      assert.equal(answer.headers().location, "/", rd);
    }
  },
});
