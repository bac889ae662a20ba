// Tests `curfew demo` as a new user sees it, in a real Chromium.
import assert from "node:assert/strict";

import { accessible, browser, button, ended, given, picture, run, shown, watch } from "./chromium.mjs";

const context = await browser.newContext();
const page = await context.newPage();
watch(page);

async function signIn() {
  await page.getByLabel("Name").fill("zoë");
  await page.getByRole("button", { name: "Sign in" }).click();
}

await run({
  async "a visitor must sign in, and returns to the requested page"() {
    await page.goto(`${given.url}/?order=7`);
    assert.equal(new URL(page.url()).pathname, "/sign-in");
    await accessible(page, "the sign-in page");
    await picture(page, "demo-sign-in");
    await signIn();
    assert.equal(page.url(), `${given.url}/?order=7`);
    assert.match(await page.innerText("main"), /signed in as zoë/);
    await accessible(page, "the application");
    await picture(page, "demo");
  },

  async "the console at the printed address shows the session"() {
    const operator = await (await browser.newContext()).newPage();
    await operator.goto(given.console);
    await operator.getByLabel("Admin token").fill(given.token);
    await operator.getByRole("button", { name: "Sign in" }).click();
    await operator.getByRole("link", { name: "zoë" }).waitFor();
    await operator.context().close();
  },

  async "the page warns, and signs out an idle person"() {
    await shown(page, 15000);
    await ended(page, "idle_timeout", 60000);
    await page.getByRole("link", { name: "Sign in again" }).click();
    await signIn();
    assert.equal(page.url(), `${given.url}/?order=7`);
  },

  async "the form and the dialog both sign out"() {
    await page.getByRole("button", { name: "Sign out" }).click();
    await ended(page, "signed_out");
    await page.goto(`${given.url}/`);
    await signIn();
    await shown(page, 15000);
    await button(page, "Sign out").click();
    await ended(page, "signed_out");
    assert.deepEqual(await context.cookies(), []);
  },

  async "no other site can sign a person in, or redirect them elsewhere"() {
    const form = { subject: "mallory", rd: `${given.url}/` };
    for (const headers of [{ origin: "https://evil.example" }, { "sec-fetch-site": "cross-site" }, {}]) {
      const answer = await context.request.post(`${given.url}/sign-in`, { form, headers, maxRedirects: 0 });
      assert.equal(answer.status(), 403, JSON.stringify(headers));
    }
    for (const rd of ["https://evil.example/", "//evil.example", "https://evil.example//evil.example", "javascript:alert(1)"]) {
      const headers = { "sec-fetch-site": "same-origin" };
      const answer = await context.request.post(`${given.url}/sign-in`, { form: { subject: "alice", rd }, headers, maxRedirects: 0 });
      assert.equal(answer.headers().location, "/", rd);
    }
  },
});
