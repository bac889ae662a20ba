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

  async "typing in the terminal keeps the session, and the terminal ends with it"() {
    await page.goto(`${settings.url}/`);
    await signIn();
    await page.getByRole("link", { name: "A terminal" }).click();
    const screen = page.getByRole("log", { name: "Terminal" });
    const command = page.getByLabel("Command");
    await command.fill("whoami");
    await page.getByRole("button", { name: "Send" }).click();
    await screen.getByText("zoë", { exact: true }).waitFor();
    await assertAccessible(page, "the terminal");
    await takeScreenshot(page, "demo-terminal");
    // The person types for longer than the idle limit of 8 seconds. The page sends no other request.
    for (let second = 0; second < 12; second += 1) {
      await command.press("x");
      await page.waitForTimeout(1000);
    }
    assert.equal(await screen.getByText("The server closed").count(), 0);
    const clock = await screen.getAttribute("data-clock");
    assert.ok(Number(clock) >= 10, clock);
    // The server still sends its clock, which is not activity.
    await screen.getByText("The server closed the terminal: idle_timeout (1008).").waitFor({ timeout: 60000 });
    assert.ok(await command.isDisabled());
    await page.goto(`${settings.url}/terminal`);
    assert.equal(new URL(page.url()).pathname, "/sign-in");
  },

  async "an operator who revokes the session ends the terminal"() {
    await signIn();
    const screen = page.getByRole("log", { name: "Terminal" });
    await screen.getByText("Try: whoami").waitFor();
    const authorization = { authorization: `Bearer ${settings.token}` };
    const api = new URL("/api/v1/sessions?subject=zo%C3%AB", settings.console);
    const revoked = await context.request.delete(api.href, { headers: authorization });
    assert.ok(revoked.ok(), await revoked.text());
    await screen.getByText("The server closed the terminal: revoked (1008).").waitFor({ timeout: 60000 });
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
