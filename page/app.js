// The frame around the views: navigation, the pulse at the top, the token when one is wanted.

import { addressOf, get, keepToken, Problem } from "./lib/api.js";
import { byId, fill, h } from "./lib/dom.js";
import { isPositive } from "./lib/exact.js";
import { clock, number, ownZone, plural, setZone } from "./lib/format.js";
import { every } from "./lib/lifetime.js";
import { blockName, namesLoaded } from "./lib/names.js";
import { failure } from "./lib/parts.js";
import { current, go } from "./lib/route.js";
import * as now from "./views/now.js";
import * as runs from "./views/runs.js";

/** @type {[string, string, () => unknown][]} */
const VIEWS = [
  ["now", "Now", () => now],
  ["runs", "Runs", () => runs],
  ["blocks", "Blocks", () => import("./views/blocks.js")],
  ["graphs", "Graphs", () => import("./views/graphs.js")],
  ["errors", "Errors", () => import("./views/errors.js")],
  ["costs", "Costs", () => import("./views/costs.js")],
  ["alerts", "Alerts", () => import("./views/alerts.js")],
  ["recovery", "Recovery", () => import("./views/recovery.js")],
  ["health", "Health", () => import("./views/health.js")],
  ["audit", "Audit", () => import("./views/audit.js")],
];
// Figures over all users are not for a token that is bound to one.
const VIEWS_OF_USERS = new Set(["runs"]);
const VIEWS_OF_ADMINS = new Set(["audit"]);
const DETAILS = {
  runs: () => import("./views/run.js"),
  blocks: () => import("./views/block.js"),
  graphs: () => import("./views/one_graph.js"),
};

const RETRY = 1_000; // milliseconds
const ZONE = "execstream-zone";

const main = byId("main");
const nav = byId("nav");
const pulse = byId("pulse");
const alarm = byId("alarm");
const waiting = { isWaiting: false, isReloading: false };
const polls = { beat: new AbortController(), alerts: new AbortController() };
let lifetime = new AbortController();
let views = VIEWS;

async function show() {
  const { parts, parameters } = current();
  const [name = views[0][0], id] = parts;
  const view = views.find(([known]) => known === name);
  if (!view) return go(`#/${views[0][0]}`);
  lifetime.abort();
  lifetime = new AbortController();
  const { signal } = lifetime;
  mark(name);
  try {
    const module = await loaded(id && DETAILS[name] ? DETAILS[name] : view[2]);
    if (signal.aborted) return;
    const root = h("div", { class: `view view-${name}` });
    fill(main, root);
    document.title = `${view[1]} · execstream`;
    await module.show(root, { id, parameters, signal });
  } catch (error) {
    if (signal.aborted) return;
    if (error.status !== 401) fill(main, failure(error, "this"));
  }
}

async function loaded(load) {
  try {
    return await load();
  } catch {
    // A browser does not ask again for a module that it could not load.
    waiting.isReloading = true;
    throw new Problem(0, { detail: "The server does not answer." });
  }
}

/** Show the view anew once the server, which was away when a part of it was loaded, answers. */
async function showAgain() {
  if (waiting.isWaiting) return;
  waiting.isWaiting = true;
  do await new Promise((resolve) => setTimeout(resolve, RETRY));
  while (!(await answers()));
  waiting.isWaiting = false;
  if (waiting.isReloading) location.reload();
  else show();
}

async function answers() {
  try {
    return (await fetch(addressOf("/livez"))).ok;
  } catch {
    return false;
  }
}

/** Load all views, so that they are there when the server is not. */
const loadViews = () =>
  Promise.allSettled([
    ...views.map(([, , load]) => load()),
    ...Object.values(DETAILS).map((load) => load()),
  ]);

/** Set the navigation to the views that the token may see, and begin. */
async function begin() {
  let user = null;
  let isAdmin = false;
  try {
    const me = await get("/v1/me");
    user = me.user_id;
    isAdmin = me.scopes.includes("admin");
  } catch (error) {
    if (error.status === 401) return; // the answer to the question for a token begins again
  }
  views = VIEWS.filter(([name]) =>
    user === null ? isAdmin || !VIEWS_OF_ADMINS.has(name) : VIEWS_OF_USERS.has(name),
  );
  fill(
    nav,
    views.map(([name, title]) => h("a", { href: `#/${name}`, "data-view": name }, title)),
  );
  show().finally(loadViews);
  if (user !== null) return;
  beat();
  countAlerts();
}

function mark(name) {
  for (const item of nav.querySelectorAll("a")) {
    if (item.dataset.view === name) item.setAttribute("aria-current", "page");
    else item.removeAttribute("aria-current");
  }
}

function askForToken() {
  if (main.querySelector(".token")) return;
  lifetime.abort();
  const field = h("input", { type: "password", id: "token", autocomplete: "off", required: true });
  const form = h(
    "form",
    { class: "token" },
    h("h1", {}, "This server wants a token"),
    h("label", { for: "token" }, "Token"),
    field,
    h("button", {}, "Continue"),
    h("p", { class: "hint" }, "It is kept for this tab only."),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    keepToken(field.value.trim());
    fill(main);
    begin();
  });
  fill(main, form);
  field.focus();
}

/** "Complete to hh:mm:ss · 0 gaps": the time up to which the page is complete. */
function beat() {
  const whole = new AbortController();
  polls.beat.abort();
  polls.beat = whole;
  every(5_000, whole.signal, async () => {
    try {
      fill(pulse, completeness(await get("/v1/completeness", {}, { signal: whole.signal })));
    } catch (error) {
      if (error.isMissing || error.status === 401) whole.abort();
      fill(pulse, error.status === 0 ? h("span", { class: "bad" }, error.message) : null);
    }
  });
}

function completeness({ complete_to: to, gaps, behind }) {
  const isWhole = gaps === 0 && to !== null;
  return h(
    "a",
    { href: "#/health", class: isWhole ? "good" : "bad" },
    to === null ? "Nothing applied yet" : `Complete to ${clock(to)}`,
    ` · ${plural(gaps, "gap")}`,
    isPositive(behind) && ` · ${number(behind)} behind`,
  );
}

/** Open alerts without an acknowledgement: their number by the word, the newest above each view. */
function countAlerts() {
  const whole = new AbortController();
  polls.alerts.abort();
  polls.alerts = whole;
  const count = async () => {
    try {
      const { data } = await get("/v1/alerts", { open: true, limit: 100 });
      const now = Date.now();
      const news = data.filter(
        ({ acknowledged_at: seen, silenced_until: quiet }) =>
          !seen && !(quiet && Date.parse(quiet) > now),
      );
      const item = nav.querySelector("[data-view=alerts]");
      if (!item) return whole.abort();
      fill(item, "Alerts", news.length > 0 && h("span", { class: "count bad" }, news.length));
      if (news.length) await namesLoaded();
      showAlarm(news);
    } catch (error) {
      if (error.isMissing || error.status === 401) whole.abort();
    }
  };
  addEventListener("alerts-changed", count, { signal: whole.signal });
  every(3_000, whole.signal, count);
}

function showAlarm([newest, ...others]) {
  const key = JSON.stringify([newest?.id, newest?.title, others.length]);
  if (alarm.dataset.key === key) return;
  alarm.dataset.key = key;
  alarm.hidden = !newest;
  fill(
    alarm,
    newest && [
      h("strong", { class: `severity ${newest.severity}` }, newest.severity),
      h("span", {}, [newest.block_id && `${blockName(newest.block_id)}: `, newest.title]),
      h("a", { href: "#/alerts" }, others.length ? `and ${others.length} more` : "Look at it"),
    ],
  );
}

/** Offer the zones of times, and keep the choice for this browser. */
function showZones() {
  const chosen = localStorage.getItem(ZONE);
  setZone(chosen);
  const select = /** @type {HTMLSelectElement} */ (byId("zone"));
  const zones = [
    ["", `${ownZone()} (this machine)`],
    ["UTC", "UTC (as at the terminal)"],
  ];
  fill(
    select,
    zones.map(([value, name]) => h("option", { value, selected: value === (chosen ?? "") }, name)),
  );
  select.addEventListener("change", () => {
    if (select.value) localStorage.setItem(ZONE, select.value);
    else localStorage.removeItem(ZONE);
    location.reload();
  });
}

async function showVersion() {
  try {
    const { version } = await get("/livez");
    fill(byId("version"), version && `execstream ${version}`);
  } catch {
    // the pulse shows when the server does not answer
  }
}

addEventListener("hashchange", show);
addEventListener("token-wanted", askForToken);
addEventListener("server-away", showAgain);
showZones();
begin();
showVersion();
