// Tests sign-in with identity providers, and attacks on it, in a real Chromium through the proxy in `settings`.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { connect, createServer as createTcpServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

import { assertAccessible, browser, findButton, settings, takeScreenshot, runCases, waitForDialog, recordProblems } from "./chromium.mjs";

// Starts the application, which shows the user and a sign-out button.
createServer((request, response) => {
  const header = (name) => request.headers[name] ?? "";
  response.setHeader("content-type", "text/html; charset=utf-8");
  response.end(`<!doctype html><html lang="en"><title>Orders</title><main><h1>Orders</h1>
<p id="who">${header("x-session-user")} ${header("x-session-groups")} ${header("x-session-email")}</p>
<form method="post" action="/.curfew/sign-out"><button>Leave</button></form></main>
<script src="/.curfew/warning.js" data-before="6" defer></script></html>`);
}).listen(settings.application, "127.0.0.1");

const appUrl = (path) => `${settings.url}${path}`;
const startsWith = (start) => (url) => url.href.startsWith(start);
const isCallback = startsWith(appUrl("/.curfew/callback/"));

// Opens a browser context for a person. The context blocks the warning script, unless `warning` is set: at the end of
// the session, the script opens another page, which would interrupt a navigation of the test.
async function openBrowser({ warning = false } = {}) {
  const context = await browser.newContext();
  if (!warning) await context.route(/warning\.js/, (route) => route.abort());
  // The provider's pages load fonts from another site, which the tests cannot reach.
  await context.route(/googleapis/, (route) => route.abort());
  const page = await context.newPage();
  recordProblems(page);
  return { context, page };
}

// Signs a person in on the provider's page.
async function authenticate(page, user, issuer = settings.main) {
  await page.waitForURL(startsWith(`${issuer}/interaction/`));
  await page.getByPlaceholder("Enter any login").fill(user);
  await page.getByPlaceholder("and password").fill("any");
  await page.getByRole("button", { name: "Sign-in" }).click();
}

const chooseProvider = (page, title = "Example") => page.getByRole("link", { name: `Sign in with ${title}` }).click();
const shownUser = (page) => page.innerText("#who");
const cookies = async (context) => Object.fromEntries((await context.cookies(settings.url)).map((it) => [it.name, it]));
// Each sign-in that waits for the provider is an attempt, and has a cookie with a secret.
const attemptCookies = async (context) => Object.keys(await cookies(context)).filter((name) => name.startsWith("curfew-login-"));

async function signIn(page, user = "alice", path = "/orders?page=2") {
  await page.goto(appUrl(path));
  await chooseProvider(page);
  await authenticate(page, user);
  await page.waitForURL(appUrl(path));
}

// Signs in until the provider redirects back to Curfew. Does not follow this redirect, and returns its address.
async function captureCallback(page, user, path = "/.curfew/login?provider=main") {
  let answer;
  // Only the DevTools protocol can hold back a redirect.
  const protocol = await page.context().newCDPSession(page);
  protocol.on("Fetch.requestPaused", ({ requestId, request }) => {
    answer = request.url;
    return protocol.send("Fetch.fulfillRequest", { requestId, responseCode: 200, body: "" });
  });
  await protocol.send("Fetch.enable", { patterns: [{ urlPattern: appUrl("/.curfew/callback/*") }] });
  await page.goto(appUrl(path));
  await authenticate(page, user);
  await page.waitForURL(isCallback);
  await protocol.detach();
  return answer;
}

// Starts a relay to the proxy that delays data in each direction. Returns the URL of the relay.
async function startSlowRelay(milliseconds) {
  const server = createTcpServer((near) => {
    const far = connect(new URL(settings.url).port, "127.0.0.1");
    for (const [from, to] of [[near, far], [far, near]]) {
      from.on("data", (data) => setTimeout(() => to.writable && to.write(data), milliseconds));
      from.on("close", () => setTimeout(() => to.destroy(), milliseconds));
      from.on("error", () => to.destroy());
    }
  });
  await new Promise((listens) => server.listen(0, "127.0.0.1", listens));
  return `http://127.0.0.1:${server.address().port}`;
}

async function fetchSession(page) {
  const answer = await page.request.get(appUrl("/.curfew/session"));
  const { subject } = await answer.json();
  const headers = { authorization: `Bearer ${settings.admin_token}` };
  const list = await (await fetch(`${settings.admin}/api/v1/sessions?subject=${subject}`, { headers })).json();
  // Two sessions may have the same start, because the provider's times are in whole seconds. So find the page's
  // session by its latest activity.
  const live = list.sessions.filter((it) => it.state === "live");
  return live.reduce((latest, it) => (it.last_seen > latest.last_seen ? it : latest));
}

async function assertRefused(answer, status) {
  assert.equal(answer.status(), status, answer.url());
  assert.match(await answer.text(), /Not signed in/);
}

await runCases({
  async "a person without a session chooses a provider, signs in, and gets the requested page"() {
    const { context, page } = await openBrowser();
    await page.goto(appUrl("/orders?page=2"));
    // ingress-nginx creates the redirect itself, without the reason.
    assert.match(page.url(), settings.proxy === "ingress-nginx" ? /\.curfew\/login\?rd=/ : /\.curfew\/login\?rd=.*&reason=no_credential/);
    await assertAccessible(page, "the choice of a provider");
    await takeScreenshot(page, "sign-in");
    await chooseProvider(page);
    await authenticate(page, "alice");
    await page.waitForURL(appUrl("/orders?page=2"));
    assert.equal(await shownUser(page), "alice staff alice@example.com");
    const { session, "curfew-provider": provider } = await cookies(context);
    assert(session.httpOnly && session.sameSite === "Lax" && provider === undefined, "the application should receive only the session cookie");
    assert.deepEqual(await attemptCookies(context), []);
    // The session starts at the time of the authentication.
    const hint = (await context.cookies(appUrl("/.curfew/sign-out"))).find((it) => it.name === "curfew-provider");
    const claims = JSON.parse(Buffer.from(hint.value.split(":")[1].split(".")[1], "base64url"));
    const known = await fetchSession(page);
    assert.equal(Date.parse(known.started), claims.auth_time * 1000);
    assert.equal(known.source, "login");
    await context.close();
  },

  async "the other provider has some claims only at its UserInfo endpoint"() {
    const { context, page } = await openBrowser();
    await page.goto(appUrl("/"));
    await chooseProvider(page, "Another");
    await authenticate(page, "bob", settings.other);
    await page.waitForURL(appUrl("/"));
    assert.equal(await shownUser(page), "bob staff bob@example.com");
    await context.close();
  },

  async "two tabs sign in at once"() {
    const { context, page } = await openBrowser();
    const second = await context.newPage();
    for (const [tab, path] of [[page, "/one"], [second, "/two"]]) {
      await tab.goto(appUrl(path));
      await chooseProvider(tab);
      await tab.waitForURL(startsWith(`${settings.main}/interaction/`));
    }
    assert.equal((await attemptCookies(context)).length, 2);
    await authenticate(page, "alice");
    await page.waitForURL(appUrl("/one"));
    await second.reload();
    await authenticate(second, "alice");
    await second.waitForURL(appUrl("/two"));
    await context.close();
  },

  async "many tabs wait at the provider, and each opens its own page"() {
    const { context, page } = await openBrowser();
    const tabs = [page];
    while (tabs.length < 7) tabs.push(await context.newPage());
    for (const [number, tab] of tabs.entries()) {
      await tab.goto(appUrl(`/tab?number=${number}`));
      await chooseProvider(tab);
      await tab.waitForURL(startsWith(`${settings.main}/interaction/`));
    }
    assert.equal((await attemptCookies(context)).length, tabs.length);
    for (const number of [6, 0, 3]) {
      await tabs[number].reload();
      await authenticate(tabs[number], "alice");
      await tabs[number].waitForURL(appUrl(`/tab?number=${number}`));
    }
    await context.close();
  },

  async "a response without its attempt opens the page of an existing session, and starts none"() {
    const { context, page } = await openBrowser();
    const wanted = "/orders?page=7&a=%2Fb";
    const begin = `/.curfew/login?provider=main&rd=${encodeURIComponent(appUrl(wanted))}`;
    const answer = await captureCallback(page, "alice", begin);
    // If the browser has no cookie of the attempt and no session, the person can start again with the same return
    // address.
    const [attempt] = await attemptCookies(context);
    await context.clearCookies({ name: attempt });
    await assertRefused(await page.goto(answer), 400);
    assert.equal((await cookies(context)).session, undefined);
    await page.getByRole("link", { name: "Try again" }).click();
    await chooseProvider(page);
    await page.waitForURL(appUrl(wanted));
    const { session } = await cookies(context);
    // The browser opens the address again, as it does when a person restores a window or goes back.
    for (let times = 0; times < 2; times++) {
      await page.goto(answer);
      assert.equal(page.url(), appUrl(wanted));
      assert.equal(await shownUser(page), "alice staff alice@example.com");
    }
    // If the browser gets the provider's answer for another person, it opens the page of that sign-in, but keeps
    // its own session (login CSRF).
    const other = await openBrowser();
    const otherCallback = await captureCallback(other.page, "mallory", "/.curfew/login?provider=main&rd=/theirs");
    await page.goto(otherCallback);
    assert.equal(page.url(), appUrl("/theirs"));
    assert.equal(await shownUser(page), "alice staff alice@example.com");
    assert.equal((await cookies(context)).session.value, session.value);
    // Curfew rejects a changed `state`.
    const forged = new URL(answer);
    forged.searchParams.set("state", `${otherCallback.match(/state=([^&]*)/)[1].slice(0, -2)}AA`);
    await assertRefused(await page.goto(forged.href), 400);
    await other.context.close();
    await context.close();
  },

  async "a late response for an ended session does not clear the cookie of a newer sign-in"() {
    const slow = await startSlowRelay(100);
    for (let round = 0; round < 3; round++) {
      const { context, page } = await openBrowser();
      await signIn(page);
      const [one, two] = [await context.newPage(), await context.newPage()];
      const login = (path) => `/.curfew/login?provider=main&reason=reauthentication_required&rd=${path}`;
      const answers = [await captureCallback(one, "alice", login("/one")), await captureCallback(two, "alice", login("/two"))];
      await page.evaluate((url) => {
        window.answers = 0;
        const poll = async () => {
          await fetch(url, { mode: "no-cors", credentials: "include" }).catch(() => {});
          window.answers += 1;
          setTimeout(poll, 0);
        };
        for (let pollers = 0; pollers < 6; pollers++) poll();
      }, `${slow}/poll`);
      // Each sign-in ends the previous session while the first tab still polls with that session.
      for (const [tab, answer, path] of [[one, answers[0], "/one"], [two, answers[1], "/two"]]) {
        await sleep(300);
        const [issued] = await Promise.all([
          tab.waitForResponse((response) => response.url() === answer).then((response) => response.headerValue("set-cookie")),
          tab.goto(answer),
        ]);
        await tab.waitForURL(appUrl(path));
        await sleep(700);
        const { session } = await cookies(context);
        assert(session && issued.includes(session.value), `round ${round}: the cookie of ${path} is lost`);
        assert.equal((await tab.request.get(appUrl("/.curfew/session"))).status(), 200);
      }
      assert((await page.evaluate(() => window.answers)) > 12, "too few answers to polls");
      await context.close();
    }
  },

  async "an idle person must authenticate again, whatever the address says"() {
    const { context, page } = await openBrowser();
    await signIn(page);
    await page.goto("about:blank");
    await sleep(16500);
    // The provider still has a session, but Curfew asks the provider for a new authentication.
    await page.goto(appUrl("/.curfew/login?provider=main&rd=/back"));
    await authenticate(page, "alice");
    await page.waitForURL(appUrl("/back"));
    assert.equal(await shownUser(page), "alice staff alice@example.com");
    await context.close();
  },

  async "after a revocation a person must authenticate again, whatever cookies the browser has"() {
    for (const forget of [false, true]) {
      const { context, page } = await openBrowser();
      await signIn(page);
      const { id } = await fetchSession(page);
      const headers = { authorization: `Bearer ${settings.admin_token}` };
      await fetch(`${settings.admin}/api/v1/sessions/${id}`, { method: "DELETE", headers });
      // The time of an authentication has whole seconds. So an authentication in the second of the revocation counts as
      // earlier, and Curfew would ask the person once more.
      await sleep(1000);
      if (forget) await context.clearCookies({ name: "session" });
      await page.goto(appUrl("/orders?page=3"));
      await chooseProvider(page);
      // The provider still has a session, but asks for a new authentication.
      await authenticate(page, "alice");
      await page.waitForURL(appUrl("/orders?page=3"));
      assert.equal(await shownUser(page), "alice staff alice@example.com");
      await context.close();
    }
  },

  async "the dialog leads to the sign-out page and back to the application"() {
    const { context, page } = await openBrowser({ warning: true });
    await signIn(page);
    await page.waitForURL((url) => url.pathname === "/.curfew/signed-out" && url.searchParams.get("reason") === "idle_timeout", { timeout: 90000 });
    await page.getByRole("link", { name: "Sign in again" }).click();
    await chooseProvider(page);
    await authenticate(page, "alice");
    await page.waitForURL(appUrl("/orders?page=2"));
    await context.close();
  },

  async "a stricter page requires a new authentication, and starts a new session"() {
    const { context, page } = await openBrowser();
    await signIn(page);
    const before = (await cookies(context)).session.value;
    const { id } = await fetchSession(page);
    await sleep(11000);
    await page.goto(appUrl("/fresh"));
    await chooseProvider(page);
    await authenticate(page, "alice");
    await page.waitForURL(appUrl("/fresh"));
    assert.notEqual((await cookies(context)).session.value, before);
    const headers = { authorization: `Bearer ${settings.admin_token}` };
    const old = await (await fetch(`${settings.admin}/api/v1/sessions/${id}`, { headers })).json();
    assert.notEqual(old.state, "live", JSON.stringify(old));
    await context.close();
  },

  async "a sign-out ends both sessions"() {
    for (const leave of [
      (page) => page.getByRole("button", { name: "Leave" }).click(),
      async (page) => {
        await waitForDialog(page, 90000);
        await findButton(page, "Sign out").click();
      },
    ]) {
      const { context, page } = await openBrowser({ warning: true });
      await signIn(page);
      await leave(page);
      await page.waitForURL(startsWith(`${settings.main}/session/end`));
      assert.deepEqual((await context.cookies(appUrl("/.curfew/sign-out"))).filter((it) => /^(session|curfew)/.test(it.name)), []);
      await page.getByRole("button", { name: "Yes, sign me out" }).click();
      await page.waitForURL(appUrl("/.curfew/signed-out?state=signed_out"));
      assert.match(await page.innerText("main"), /You have signed out\./);
      await page.getByRole("link", { name: "Sign in again" }).click();
      await chooseProvider(page);
      await page.waitForURL(startsWith(`${settings.main}/interaction/`));
      await context.close();
    }
  },

  async "a logout at the provider ends the session"() {
    const { context, page } = await openBrowser();
    await signIn(page);
    const elsewhere = await context.newPage();
    await elsewhere.goto(`${settings.main}/session/end`);
    await elsewhere.getByRole("button", { name: "Yes, sign me out" }).click();
    await elsewhere.waitForURL(/session\/end\/success/);
    for (let tries = 0; ; tries++) {
      const { status, headers } = await page.request.get(appUrl("/.curfew/session")).then((it) => ({ status: it.status(), headers: it.headers() }));
      if (status === 401) {
        assert.equal(headers["x-session-reason"], "revoked");
        break;
      }
      assert(tries < 300, "the provider's logout notice did not arrive");
      await sleep(100);
    }
    await context.close();
  },

  async "a response without a request signs nobody in (login CSRF)"() {
    const { context, page } = await openBrowser();
    const answer = await captureCallback(page, "mallory");
    const victim = await openBrowser();
    await assertRefused(await victim.page.goto(answer), 400);
    assert.equal((await cookies(victim.context)).session, undefined);
    // The attack also fails if the victim has started a sign-in.
    await victim.page.goto(appUrl("/.curfew/login?provider=main"));
    await assertRefused(await victim.page.goto(answer), 400);
    assert.equal((await cookies(victim.context)).session, undefined);
    await victim.context.close();
    await context.close();
  },

  async "a code of another person is not accepted (code injection)"() {
    const { context, page } = await openBrowser();
    const stolen = new URL(await captureCallback(page, "alice")).searchParams.get("code");
    const thief = await openBrowser();
    const own = new URL(await captureCallback(thief.page, "mallory"));
    own.searchParams.set("code", stolen);
    await assertRefused(await thief.page.goto(own.href), 403);
    assert.equal((await cookies(thief.context)).session, undefined);
    await thief.context.close();
    await context.close();
  },

  async "a response is accepted once, and only from the right provider (mix-up)"() {
    const change = async (page, context, edit) => {
      const answer = new URL(await captureCallback(page, "alice"));
      edit(answer);
      await assertRefused(await page.goto(answer.href), 400);
      assert.equal((await cookies(context)).session, undefined);
    };
    for (const edit of [
      (url) => (url.pathname = "/.curfew/callback/other"),
      (url) => url.searchParams.set("iss", settings.other),
      (url) => url.searchParams.delete("iss"),
      (url) => url.searchParams.set("state", url.searchParams.get("state").slice(0, 20) + "x"),
      (url) => url.searchParams.delete("code"),
      (url) => url.searchParams.append("code", "twice"),
    ]) {
      const { context, page } = await openBrowser();
      await change(page, context, edit);
      await context.close();
    }
    const { context, page } = await openBrowser();
    const answer = await captureCallback(page, "alice");
    await page.goto(answer);
    assert.equal((await cookies(context)).session.httpOnly, true);
    await context.clearCookies({ name: "session" });
    await assertRefused(await page.goto(answer), 400);
    await context.close();
  },

  async "only members of a group can sign in to the console"() {
    const consoleUrl = (path) => `${settings.admin}${path}`;
    for (const [user, issuer, title, isAllowed] of [
      ["alice", settings.main, "Example", false],
      ["root", settings.main, "Example", true],
      ["root", settings.other, "Another", true],
    ]) {
      const { context, page } = await openBrowser();
      await page.goto(consoleUrl("/console/policies"));
      await assertAccessible(page, "the sign-in page of the console");
      await chooseProvider(page, title);
      await authenticate(page, user, issuer);
      if (isAllowed) {
        await page.waitForURL(consoleUrl("/console/policies"));
        assert.match(await page.innerText("main"), /fresh/);
      } else {
        await page.waitForURL(startsWith(consoleUrl("/console/callback/main")));
        assert.match(await page.innerText("main"), /not in a group/);
        await page.goto(consoleUrl("/console/"));
        assert.match(page.url(), /sign-in/);
      }
      assert.deepEqual((await context.cookies(settings.admin)).filter((it) => it.name.startsWith("curfew-login")), []);
      await context.close();
    }
    // The console accepts no attempt that began as a sign-in to the application.
    const { context, page } = await openBrowser();
    const answer = new URL(await captureCallback(page, "root"));
    const other = consoleUrl(`/console/callback/main${answer.search}`);
    assert.equal((await page.goto(other)).status(), 400);
    assert.equal((await page.goto(consoleUrl("/console/callback/none"))).status(), 404);
    await context.close();
  },

  async "many attempts with a long address cause no error, and the number of cookies is bounded"() {
    const { context } = await openBrowser();
    const rd = encodeURIComponent(appUrl(`/${"x".repeat(900)}`));
    let expectedNames = [];
    for (let attempt = 0; attempt < 25; attempt++) {
      const answer = await context.request.get(appUrl(`/.curfew/login?provider=main&rd=${rd}`), { maxRedirects: 0 });
      assert.equal(answer.status(), 303);
      const [name] = answer.headers()["set-cookie"].split("\n").at(-1).split("=");
      expectedNames = [...expectedNames, name].slice(-20);
      assert.deepEqual((await attemptCookies(context)).sort(), [...expectedNames].sort(), "the newest attempts should remain");
    }
    const header = (await context.cookies(settings.url)).map(({ name, value }) => `${name}=${value}`).join("; ");
    assert(header.length < 2000, `${header.length}`);
    await context.close();
  },

  async "a changed cookie is not accepted"() {
    const { context, page } = await openBrowser();
    const answer = await captureCallback(page, "alice");
    const [name] = await attemptCookies(context);
    const { value } = (await cookies(context))[name];
    const changed = Buffer.from(value, "base64url");
    changed[20] ^= 1;
    await context.addCookies([{ name, value: changed.toString("base64url"), url: settings.url }]);
    await assertRefused(await page.goto(answer), 400);
    assert.equal((await cookies(context)).session, undefined);
    await context.close();
  },

  async "there are no open redirects"() {
    const { context } = await openBrowser();
    const ask = (rd) => context.request.get(appUrl(`/.curfew/login?provider=main&rd=${encodeURIComponent(rd)}`), { maxRedirects: 0 });
    const { host } = new URL(settings.url);
    for (const rd of [
      "https://evil.example/",
      `https://${host}.evil.example/`,
      `https://${host}@evil.example/`,
      `http://evil.example\\@${host}/`,
      `http://${host.split(":")[0]}:1/`,
      "javascript:alert(1)",
      "data:text/html,x",
      "evil.example",
      `http:evil.example`,
    ]) {
      await assertRefused(await ask(rd), 400);
    }
    // A browser must not read a path on this host as another host.
    const page = await context.newPage();
    for (const [number, rd] of ["//evil.example/", "/\\evil.example/", "/\t/evil.example/"].entries()) {
      await page.goto(appUrl(`/.curfew/login?provider=main&rd=${encodeURIComponent(rd)}`));
      if (number === 0) await authenticate(page, "alice");
      await page.waitForURL(appUrl("/"));
    }
    await context.close();
  },

  async "a page reports the refusal of the provider, without the provider's text"() {
    const { context, page } = await openBrowser();
    const loginResponse = await context.request.get(appUrl("/.curfew/login?provider=main"), { maxRedirects: 0 });
    const state = new URL(loginResponse.headers().location).searchParams.get("state");
    const answer = await page.goto(appUrl(`/.curfew/callback/main?state=${state}&iss=${settings.main}&error=access_denied&error_description=<b>evil</b>`));
    await assertRefused(answer, 403);
    assert.doesNotMatch(await page.content(), /evil/);
    await assertAccessible(page, "the page after a failed sign-in");
    // A script cannot start a sign-in, so the response is 401 with the reason.
    const headers = { "sec-fetch-mode": "cors" };
    const script = await context.request.get(appUrl("/.curfew/login"), { headers, maxRedirects: 0 });
    assert.deepEqual([script.status(), script.headers()["x-session-reason"]], [401, "no_credential"]);
    // A frame gets a link that opens the whole window.
    const framed = { "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe" };
    const frame = await context.request.get(appUrl("/.curfew/login"), { headers: framed, maxRedirects: 0 });
    assert.equal(frame.status(), 401);
    assert.match(await frame.text(), /target="_top"/);
    await context.close();
  },
});
