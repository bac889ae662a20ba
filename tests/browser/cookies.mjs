// Tests a browser with two cookies of the session's name, in a real Chromium behind NGINX. Curfew clears the cookies,
// without an endless redirect.
import assert from "node:assert/strict";
import { createServer } from "node:http";

import { accessible, browser, given, run, watch } from "./chromium.mjs";

createServer((request, response) => {
  response.setHeader("content-type", "text/html; charset=utf-8");
  const user = request.headers["x-session-user"] ?? "";
  response.end(`<!doctype html><html lang="en"><title>Orders</title><main><h1 id="who">${user}</h1></main></html>`);
}).listen(given.application, "127.0.0.1");

const { hostname } = new URL(given.url);
const here = (path) => `${given.url}${path}`;

async function person(planted) {
  const context = await browser.newContext();
  const own = { name: "session", value: given.token, domain: hostname, path: "/" };
  await context.addCookies([own, ...planted.map((it) => ({ name: "session", value: "planted", path: "/", ...it }))]);
  const page = await context.newPage();
  watch(page);
  const visited = [];
  page.on("response", (response) => visited.push(response.status()));
  return { context, page, visited };
}

const sessions = async (context) => (await context.cookies()).filter(({ name }) => name === "session");

await run({
  async "the cookies of the domain and of the host are cleared, and the person signs in"() {
    const parent = hostname.slice(hostname.indexOf(".") + 1);
    for (const domain of [`.${parent}`, `.${hostname}`]) {
      const { context, page, visited } = await person([{ domain }]);
      assert.equal((await sessions(context)).length, 2);
      await page.goto(here("/orders?page=2"));
      const url = new URL(page.url());
      assert.equal(url.pathname, "/sign-in");
      assert.equal(url.searchParams.get("rd"), here("/orders?page=2"));
      assert.deepEqual(visited, [302, 303, 302, 200]);
      assert.deepEqual(await sessions(context), []);
      await context.close();
    }
  },

  async "only the cookie of a path is cleared, and the session continues"() {
    const { context, page, visited } = await person([{ domain: hostname, path: "/orders" }]);
    await page.goto(here("/orders/7?page=2"));
    assert.equal(page.url(), here("/orders/7?page=2"));
    assert.equal(await page.innerText("#who"), "alice");
    assert.deepEqual(visited, [302, 303, 200]);
    assert.deepEqual((await sessions(context)).map(({ value }) => value), [given.token]);
    await context.close();
  },

  async "a cookie that can't be cleared is named, and the person can try again"() {
    const deep = "/1/2/3/4/5/6/7/8/9";
    const { context, page, visited } = await person([{ domain: hostname, path: deep }]);
    await page.goto(here(deep));
    assert.equal(new URL(page.url()).pathname, "/.curfew/clear-cookies");
    assert.match(await page.innerText("main"), /with the name session.*another path \(Path\)/s);
    assert.deepEqual(visited, [302, 303, 302, 400], "no endless redirect");
    await accessible(page, "the page that lists cookies");
    await context.clearCookies({ path: deep });
    await page.getByRole("link", { name: "Try again" }).click();
    await page.waitForURL(here(deep));
    assert.equal(await page.innerText("#who"), "alice");
    await context.close();
  },

  async "another site cannot clear cookies that are not ambiguous"() {
    const { context, page } = await person([]);
    const foreign = await context.newPage();
    await foreign.setContent(`<a href="${here("/.curfew/clear-cookies?rd=/orders")}">x</a><img src="${here("/.curfew/clear-cookies")}" alt="">`);
    await foreign.click("a");
    await foreign.waitForURL(here("/orders"));
    assert.equal(await foreign.innerText("#who"), "alice");
    await page.goto(here("/orders"));
    assert.equal(await page.innerText("#who"), "alice");
    await context.close();
  },
});
