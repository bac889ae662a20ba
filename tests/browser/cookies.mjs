// Tests a real Chromium that has two cookies with the name of the session cookie, with NGINX as the proxy. Curfew
// clears the cookies without an endless redirect.
import assert from "node:assert/strict";
import { createServer } from "node:http";

import { assertAccessible, browser, settings, runCases, recordProblems } from "./chromium.mjs";

createServer((request, response) => {
  response.setHeader("content-type", "text/html; charset=utf-8");
  const user = request.headers["x-session-user"] ?? "";
  response.end(`<!doctype html><html lang="en"><title>Orders</title><main><h1 id="who">${user}</h1></main></html>`);
}).listen(settings.application, "127.0.0.1");

const { hostname } = new URL(settings.url);
const appUrl = (path) => `${settings.url}${path}`;

async function openBrowser(plantedCookies) {
  const context = await browser.newContext();
  const own = { name: "session", value: settings.token, domain: hostname, path: "/" };
  await context.addCookies([own, ...plantedCookies.map((it) => ({ name: "session", value: "planted", path: "/", ...it }))]);
  const page = await context.newPage();
  recordProblems(page);
  const visited = [];
  page.on("response", (response) => visited.push(response.status()));
  return { context, page, visited };
}

const sessionCookies = async (context) => (await context.cookies()).filter(({ name }) => name === "session");

await runCases({
  async "the cookies of the domain and of the host are cleared, and the person signs in"() {
    const parent = hostname.slice(hostname.indexOf(".") + 1);
    for (const domain of [`.${parent}`, `.${hostname}`]) {
      const { context, page, visited } = await openBrowser([{ domain }]);
      assert.equal((await sessionCookies(context)).length, 2);
      await page.goto(appUrl("/orders?page=2"));
      const url = new URL(page.url());
      assert.equal(url.pathname, "/sign-in");
      assert.equal(url.searchParams.get("rd"), appUrl("/orders?page=2"));
      assert.deepEqual(visited, [302, 303, 302, 200]);
      assert.deepEqual(await sessionCookies(context), []);
      await context.close();
    }
  },

  async "only the cookie of a path is cleared, and the session continues"() {
    const { context, page, visited } = await openBrowser([{ domain: hostname, path: "/orders" }]);
    await page.goto(appUrl("/orders/7?page=2"));
    assert.equal(page.url(), appUrl("/orders/7?page=2"));
    assert.equal(await page.innerText("#who"), "alice");
    assert.deepEqual(visited, [302, 303, 200]);
    assert.deepEqual((await sessionCookies(context)).map(({ value }) => value), [settings.token]);
    await context.close();
  },

  async "a cookie that can't be cleared is named, and the person can try again"() {
    const deepPath = "/1/2/3/4/5/6/7/8/9";
    const { context, page, visited } = await openBrowser([{ domain: hostname, path: deepPath }]);
    await page.goto(appUrl(deepPath));
    assert.equal(new URL(page.url()).pathname, "/.curfew/clear-cookies");
    assert.match(await page.innerText("main"), /with the name session.*another path \(Path\)/s);
    assert.deepEqual(visited, [302, 303, 302, 400], "no endless redirect");
    await assertAccessible(page, "the page that lists cookies");
    await context.clearCookies({ path: deepPath });
    await page.getByRole("link", { name: "Try again" }).click();
    await page.waitForURL(appUrl(deepPath));
    assert.equal(await page.innerText("#who"), "alice");
    await context.close();
  },

  async "another site cannot clear cookies that are not ambiguous"() {
    const { context, page } = await openBrowser([]);
    const foreign = await context.newPage();
    await foreign.setContent(`<a href="${appUrl("/.curfew/clear-cookies?rd=/orders")}">x</a><img src="${appUrl("/.curfew/clear-cookies")}" alt="">`);
    await foreign.click("a");
    await foreign.waitForURL(appUrl("/orders"));
    assert.equal(await foreign.innerText("#who"), "alice");
    await page.goto(appUrl("/orders"));
    assert.equal(await page.innerText("#who"), "alice");
    await context.close();
  },
});
