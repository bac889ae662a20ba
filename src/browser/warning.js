// Curfew: warns before a session ends. See docs/browser.md
(() => {
"use strict";
const at = document.currentScript?.dataset ?? {};
const base = at.base || "/.curfew";
const before = (Number(at.before) || 60) * 1000;
const words = {
  title: "Are you still there?",
  idle: "You will be signed out in {time} because there was no activity.",
  absolute: "You will be signed out in {time} because the session reaches its maximum duration.",
  stay: "Stay signed in",
  leave: "Sign out",
  close: "Close",
  ...at,
};
const now = () => performance.now();
const tabs = window.BroadcastChannel ? new BroadcastChannel("curfew") : null;
// `ends`: the session's end by `now()`. `movable`: activity delays it.
let ends = 0, movable = true, timer, ticking, dialog, inputAt = 0, touchedAt = 0, dismissed = false;
// This page is navigating away.
let leaving = false;

async function send(path, method) {
  const sent = now();
  const answer = await fetch(base + path, { method, headers: { accept: "application/json" }, cache: "no-store" });
  // The times count from `sent`, so no warning is late.
  const { status, headers } = answer;
  return { status, body: status === 200 ? await answer.json() : {}, reason: headers.get("x-session-reason"), to: headers.get("location"), sent };
}

function update(idle, absolute, since) {
  ends = since + Math.min(idle, absolute) * 1000;
  movable = absolute - idle > 1;
  if (ends - now() > before) hide();
  plan();
}

function plan() {
  clearTimeout(timer);
  const left = ends - now();
  const shown = dialog?.open || dismissed;
  const wait = left > before ? Math.min(left - before, 60000) : shown ? left : 0;
  timer = setTimeout(poll, Math.max(wait, 250));
}

async function poll(path = "/session", method = "GET") {
  clearTimeout(timer);
  try {
    const { status, body, reason, sent } = await send(path, method);
    if (status === 200) {
      tabs?.postMessage({ idle: body.idle_remaining, absolute: body.absolute_remaining, ago: now() - sent });
      update(body.idle_remaining, body.absolute_remaining, sent);
      if (ends - now() > before || (dismissed && !movable)) return;
      return movable && inputAt > touchedAt ? touch() : show();
    }
    if (status === 401) return leave(reason);
  } catch {}
  timer = setTimeout(poll, 5000);
}

const leave = (reason, to) => {
  if (!leaving) tabs?.postMessage({ left: reason });
  exit(reason, to);
};

function exit(reason, to) {
  if (leaving) return;
  leaving = true;
  hide();
  clearTimeout(timer);
  const rd = location.pathname + location.search;
  location.assign(to || `${base}/signed-out?${new URLSearchParams({ reason: reason || "", rd })}`);
}

async function signOut() {
  leaving = true;
  const { status, to } = await send("/sign-out", "POST").catch(() => ({}));
  leaving = false;
  if (status === 204) leave("signed_out", to);
  else poll();
}

function touch() {
  touchedAt = now();
  poll("/keep-alive", "POST");
}

const time = (ms) => {
  const s = Math.max(0, Math.ceil(ms / 1000));
  return `${Math.floor(s / 60)}:${String(s % 60).padStart(2, "0")}`;
};

function show() {
  if (!dialog) build();
  const part = (name) => dialog.querySelector(`[data-part=${name}]`);
  part("stay").textContent = movable ? words.stay : words.close;
  const tick = () => {
    const left = ends - now();
    part("text").textContent = (movable ? words.idle : words.absolute).replace("{time}", time(left));
    // Screen readers announce this text, so change it rarely.
    const s = Math.ceil(left / 1000);
    if ([60, 30, 10].includes(s)) part("aloud").textContent = part("text").textContent;
    if (left <= 0) poll();
  };
  tick();
  if (dialog.open) return;
  part("aloud").textContent = part("text").textContent;
  dialog.showModal();
  part("stay").focus();
  ticking = setInterval(tick, 1000);
  plan();
}

function hide() {
  clearInterval(ticking);
  if (dialog?.open) dialog.close();
}

function stay() {
  hide();
  if (movable) touch();
  else dismissed = true;
}

function build() {
  const make = (tag) => document.createElement(tag);
  const style = new CSSStyleSheet();
  style.replaceSync(`dialog{color-scheme:light dark;border-radius:.5rem;padding:1.5rem;max-width:26rem;font:1rem/1.5 system-ui}
h2{margin:0}button{font:inherit;padding:.5rem 1rem;margin-right:.5rem}button:focus-visible{outline:3px solid}
[data-part=aloud]{position:absolute;width:1px;height:1px;overflow:hidden}`);
  const host = make("curfew-warning");
  const root = host.attachShadow({ mode: "open" });
  root.adoptedStyleSheets = [style];
  dialog = make("dialog");
  dialog.setAttribute("role", "alertdialog");
  dialog.setAttribute("aria-labelledby", "t");
  dialog.setAttribute("aria-describedby", "d");
  const add = (tag, part, textContent, more) => {
    const it = Object.assign(make(tag), { textContent, ...more });
    it.dataset.part = part;
    dialog.append(it);
  };
  add("h2", "title", words.title, { id: "t" });
  add("p", "text", "", { id: "d" });
  add("p", "aloud", "", { role: "status" });
  add("button", "stay", words.stay, { type: "button", onclick: stay });
  add("button", "leave", words.leave, { type: "button", onclick: signOut });
  // Escape keeps the session.
  dialog.addEventListener("cancel", (event) => { event.preventDefault(); stay(); });
  root.append(dialog);
  document.body.append(host);
}

tabs?.addEventListener("message", ({ data }) => {
  if ("left" in data) exit(data.left);
  else update(data.idle, data.absolute, now() - data.ago);
});
// The page was restored from the back/forward cache.
addEventListener("pageshow", ({ persisted }) => {
  if (!persisted) return;
  leaving = false;
  poll();
});
document.addEventListener("visibilitychange", () => document.hidden || poll());
if (at.watch !== "false") {
  // Input counts as activity.
  const every = (Number(at.every) || 15) * 1000;
  const seen = (event) => {
    if (!event.isTrusted || dialog?.open) return;
    inputAt = now();
    if (inputAt - touchedAt > every) touch();
  };
  for (const kind of ["keydown", "pointerdown", "input"]) addEventListener(kind, seen, { capture: true, passive: true });
  touchedAt = now();
}
poll();
})();
