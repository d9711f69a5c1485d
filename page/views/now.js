// The first view: what fails, since when, why, and for whom. Each number leads to the rows behind
// it; what is not as usual stands at the top of its list, and in colour.

import { get } from "../lib/api.js";
import { fill, h, whenChanged } from "../lib/dom.js";
import { isPositive, numberOf } from "../lib/exact.js";
import { clock, duration, instant, money, number, percent, plural } from "../lib/format.js";
import { every } from "../lib/lifetime.js";
import { blockName, graphName, namesLoaded } from "../lib/names.js";
import { cell, empty, failure, figure, panel, table, time } from "../lib/parts.js";
import { link } from "../lib/route.js";
import { whereOf } from "./alerts.js";
import { rateOf } from "./figures.js";

const POLL = 2_000; // milliseconds
const MOST_ALERTS = 5;
const MOST_DEAR = 3; // of a kind
const KINDS = { blocks: "Block", graphs: "Graph", users: "User" };

export async function show(root, { signal }) {
  const parts = [
    ["Open alerts", "/v1/alerts", showAlerts, { open: true, limit: 100 }],
    ["Blocks that fail", "/v1/now", ({ failing }) => failingTable("Block", failing.blocks)],
    ["Graphs that fail", "/v1/now", ({ failing }) => failingTable("Graph", failing.graphs)],
    ["Users whose runs fail", "/v1/now", ({ failing }) => failingTable("User", failing.users)],
    ["Runs that are silent", "/v1/now", ({ silent, as_of: now }) => silentTable(silent, now)],
    ["Spending", "/v1/now", ({ spending }) => spendingTable(spending)],
    ["Errors, new ones first", "/v1/now", ({ errors }) => errorTable(errors)],
    ["Pipeline", "/v1/completeness", showPipeline],
    ["Runs", "/v1/diagnostics", showRuns],
    ["Hazards", "/v1/hazards", ({ data }) => hazardList(data)],
  ].map(([title, path, draw, asked]) => partOf(title, path, draw, asked));
  const state = h("span", { class: "line", role: "status" });
  const [alerts, blocks, graphs, users, silent, spending, errors, pipeline, counts, hazards] =
    parts.map(({ element }) => element);
  fill(
    root,
    h("div", { class: "head" }, h("h1", {}, "Now"), state),
    alerts,
    hazards,
    h("div", { class: "pair" }, blocks, graphs),
    h("div", { class: "pair" }, users, spending),
    errors,
    h("div", { class: "triple" }, silent, pipeline, counts),
    h(
      "p",
      { class: "hint" },
      "The last hour, beside the 24 hours before it. Blocks: steps that ended, without those that failed by their caller's input or credentials. Graphs and users: runs that ended. Usually: the failure rate of the day before, or that of all where too little ended. In colour: certainly above it.",
    ),
  );
  await namesLoaded();
  await every(POLL, signal, async () => {
    const asked = new Map();
    const ask = (path, parameters) => {
      if (!asked.has(path)) asked.set(path, get(path, parameters, { signal }));
      return asked.get(path);
    };
    const shown = await Promise.all(parts.map((part) => part.load(ask, signal)));
    state.dataset.state = shown.every(Boolean) ? "live" : "lost";
    fill(state, shown.every(Boolean) ? "Live" : "Not live");
  });
}

function partOf(title, path, draw, asked) {
  const body = h("div", { "aria-busy": "true" });
  const drawNew = whenChanged((answer) => fill(body, draw(answer)));
  const element = panel(title, null, body);
  const load = async (ask, signal) => {
    try {
      const answer = await ask(path, asked);
      drawNew(answer);
      body.ariaBusy = null;
      element.hidden = body.childElementCount === 0;
      return true;
    } catch (error) {
      if (!signal.aborted) fill(body, failure(error, title.toLowerCase()));
      body.ariaBusy = null;
      return false;
    }
  };
  return { element, load };
}

// ---- alerts and hazards ------------------------------------------------------------------

function showAlerts({ data }) {
  if (!data.length) return empty("No alert is open.");
  const rows = data
    .slice(0, MOST_ALERTS)
    .map((alert) =>
      h(
        "tr",
        { class: "unusual" },
        cell("Severity", h("span", { class: `severity ${alert.severity}` }, alert.severity)),
        cell("Where", whereOf(alert)),
        cell("What", alert.title),
        cell("Since", time(alert.opened_at)),
      ),
    );
  const more = data.length - rows.length;
  return [
    table("Open alerts", ["Severity", "Where", "What", "Since"], rows),
    more > 0 && h("p", {}, h("a", { href: "#/alerts" }, `and ${number(more)} more`)),
  ];
}

const hazardList = (hazards) =>
  hazards.map(({ check, found, remedy }) =>
    h(
      "p",
      { class: "hazard" },
      h("strong", { class: "bad" }, `${found}. `),
      remedy,
      check === "partitioner" && [
        " ",
        h("a", { href: link("recovery", { dead: "wrong_partition" }) }, "Their dead letters"),
      ],
    ),
  );

// ---- links -------------------------------------------------------------------------------

const runs = (count, filters) => h("a", { href: link("runs", filters) }, number(count));

const blockLink = (id) =>
  h("a", { class: "name", href: link(["blocks", id]), title: id }, blockName(id));

const stepLink = ({ graph_exec_id: run, node_exec_id: step }, ...shown) =>
  h("a", { href: link(["runs", run], { step }) }, ...shown);

function nameOf({ block_id: block, graph_id, graph_version, user_id }) {
  if (block !== null) return blockLink(block);
  const filters = { graph_id, graph_version, user_id };
  const name = graph_id === null ? user_id : graphName(graph_id, graph_version);
  return [
    h("a", { class: "name", href: link("runs", filters), title: graph_id }, name),
    graph_id !== null && h("span", { class: "hint" }, ` v${graph_version}`),
  ];
}

// ---- failures ----------------------------------------------------------------------------

function failingTable(kind, subjects) {
  if (!subjects.length) return empty("Nothing has failed in the last hour.");
  const rows = subjects.map((one) =>
    h(
      "tr",
      { class: one.is_unusual ? "unusual" : "usual" },
      cell(kind, nameOf(one)),
      figure("Failed", runs(one.failed, failedRuns(one)), ` of ${number(one.ended)}`),
      figure("Rate", h("span", { class: "rate" }, percent(rateOf(one)))),
      figure("Usually", percent(one.usual_rate)),
      cell("Since", one.is_unusual && one.since && time(one.since, clockOfMinute)),
    ),
  );
  const columns = [kind, ["Failed", "figure"], ["Rate", "figure"], ["Usually", "figure"], "Since"];
  return table(`${kind}s by failures`, columns, rows);
}

const clockOfMinute = (minute) => clock(minute).replace(/:\d\d$/, "");

function failedRuns({ block_id, graph_id, graph_version, user_id }) {
  if (block_id !== null) return { block_id, failed: "1h" };
  return { status: "FAILED", graph_id, graph_version, user_id, ended: "1h" };
}

function errorTable(errors) {
  if (!errors.length) return empty("No step has failed in the last hour.");
  const rows = errors.map((one) => {
    const { block_id, fingerprint } = one;
    return h(
      "tr",
      { class: one.is_new ? "unusual" : "usual" },
      cell(
        "Error",
        h("span", { class: "error-text" }, one.text ?? "other errors"),
        h("span", { class: "tag" }, one.class),
      ),
      cell("Block", blockLink(block_id)),
      figure("Failures", runs(one.failures, { block_id, fingerprint, failed: "24h" })),
      cell("Users", usersOf(one)),
      cell("First", time(one.first_at)),
      cell("Last", stepLink(one, time(one.last_at))),
    );
  });
  const failures = ["Failures, 24 h", "figure"];
  return table("Errors", ["Error", "Block", failures, "Users", "First", "Last, its step"], rows);
}

function usersOf({ users, user_id, block_id, fingerprint }) {
  if ((numberOf(users) ?? 0) > 1) {
    const filters = { block_id, fingerprint, failed: "24h" };
    return h("a", { href: link("runs", filters) }, plural(users, "user"));
  }
  return h("a", { href: link("runs", { user_id, block_id, fingerprint }) }, user_id);
}

// ---- silence and spending ----------------------------------------------------------------

function silentTable(groups, now) {
  if (!groups.length) return empty("No run has been silent for 5 minutes.");
  const rows = groups.map((group) => {
    const silence = duration(instant(now) - instant(group.silent_since));
    return h(
      "tr",
      { class: "unusual" },
      cell("Step of", group.block_id === null ? "no running step" : blockLink(group.block_id)),
      figure("Runs", runs(group.runs, { status: ["RUNNING", "QUEUED"], silent: "5m" })),
      figure("Users", runs(group.users, { status: ["RUNNING", "QUEUED"], silent: "5m" })),
      figure("Longest", stepLink(group, silence)),
    );
  });
  const columns = ["Step of", ["Runs", "figure"], ["Users", "figure"], ["Longest", "figure"]];
  return table("Silent runs", columns, rows);
}

function spendingTable(spending) {
  const dearest = Object.entries(KINDS).flatMap(([name, kind]) =>
    spending[name].slice(0, MOST_DEAR).map((one) => [kind, one]),
  );
  if (!dearest.length) return empty("Nothing was spent in the last hour.");
  const rows = dearest.map(([kind, one]) =>
    h(
      "tr",
      { class: one.is_dear ? "unusual" : "usual" },
      cell("By", h("span", { class: "tag" }, kind.toLowerCase()), " ", nameOf(one)),
      figure("Last hour", h("a", { href: spent(one) }, money(one.cost))),
      figure("Usual hour", money(one.usual_cost)),
    ),
  );
  return table("Spending", ["By", ["Last hour", "figure"], ["Usual hour", "figure"]], rows);
}

function spent({ block_id, graph_id, graph_version, user_id }) {
  if (block_id !== null) return link(["blocks", block_id]);
  return link("runs", { graph_id, graph_version, user_id, ended: "1h" });
}

// ---- pipeline ----------------------------------------------------------------------------

const facts = (pairs) =>
  h(
    "dl",
    { class: "facts" },
    pairs.map(([name, value, kind]) => [h("dt", {}, name), h("dd", { class: kind }, value)]),
  );

function showPipeline({ complete_to: to, gaps, behind }) {
  const bad = (value) => (isPositive(value) ? "bad" : "");
  return facts([
    ["Complete to", to === null ? "nothing applied yet" : time(to), to === null ? "bad" : "good"],
    ["Commands behind", h("a", { href: "#/recovery" }, number(behind)), bad(behind)],
    ["Gaps", h("a", { href: "#/health" }, number(gaps)), bad(gaps)],
  ]);
}

function showRuns(of) {
  return facts([
    ["Running", runs(of.running, { status: "RUNNING" })],
    ["Queued", runs(of.queued, { status: "QUEUED" })],
    ["Silent for 1 h", runs(of.running_silent_1h, { status: "RUNNING", silent: "1h" })],
    ["Completed, 1 h", runs(of.completed_1h, { status: "COMPLETED", ended: "1h" })],
    ["Failed, 1 h", runs(of.failed_1h, { status: "FAILED", ended: "1h" })],
    ["Terminated, 1 h", runs(of.terminated_1h, { status: "TERMINATED", ended: "1h" })],
  ]);
}
