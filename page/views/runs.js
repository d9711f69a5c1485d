// All runs, newest first. Rows that are shown move as their runs do; new ones wait behind a
// button, so that nothing jumps away under the reader's hand.

import { get } from "../lib/api.js";
import { fill, h, setText, whenChanged } from "../lib/dom.js";
import { numberOf } from "../lib/exact.js";
import { clock, duration, instant, money, number, plural, short, shortId } from "../lib/format.js";
import { every, throttled } from "../lib/lifetime.js";
import { blockName, graphName, namesLoaded } from "../lib/names.js";
import { cell, empty, failure, figure, pill, setPill, table, time } from "../lib/parts.js";
import { go, link } from "../lib/route.js";
import { isEnded, LABELS, STATUSES } from "../lib/statuses.js";
import { follow } from "../lib/stream.js";
import { errorOf, statsOf } from "../run/state.js";
import { actionsOnRuns } from "./bulk.js";
import {
  address,
  belongs,
  fillNames,
  filterForm,
  filtersOf,
  hasFilters,
  scope,
} from "./run_filters.js";

const PAGE = 50;
const COUNTING = 2_000; // milliseconds between two counts

export async function show(root, { parameters, signal }) {
  const filters = filtersOf(parameters);
  const list = h("div", { class: "list", "aria-busy": "true" });
  const counters = h("div", { class: "counters", role: "group", "aria-label": "Runs by status" });
  const fresh = h("button", { type: "button", class: "fresh", hidden: true });
  const line = h("span", { class: "line", role: "status" });
  fill(
    root,
    h("div", { class: "head" }, h("h1", {}, "Runs"), line, fresh),
    counters,
    filterForm(filters),
    hasFilters(filters) &&
      actionsOnRuns(
        () => ({ ...scope(filters), status: filters.status }),
        signal,
        () => load(),
      ),
    list,
  );
  count(counters, filters, null);
  fresh.addEventListener("click", () =>
    filters.cursor ? go(address(filters, { cursor: null })) : load(),
  );

  const rows = new Map();
  const unseen = new Set();
  const tellUnseen = () => {
    const count = unseen.size;
    setText(
      fresh,
      filters.cursor ? `${plural(count, "newer run")}: to the top` : `${number(count)} new`,
    );
    fresh.hidden = count === 0;
  };
  let page;
  const draw = whenChanged(() =>
    page.error ? fill(list, failure(page.error, "runs")) : showPage(list, rows, filters, page),
  );
  const load = async () => {
    list.ariaBusy = "true";
    unseen.clear();
    tellUnseen();
    page = await pageOfRuns(filters, signal);
    if (!page) return;
    list.ariaBusy = null;
    draw(page.data ?? page.error.message);
    // Those that came while the list was on its way, and are in it.
    for (const run of page.data ?? []) unseen.delete(run.id);
    tellUnseen();
    countSteps(rows, signal);
    showReasons(rows, signal);
  };
  const recount = async () => {
    try {
      count(counters, filters, await get("/v1/executions/counts", scope(filters), { signal }));
    } catch (error) {
      if (error.isMissing) counters.hidden = true;
    }
  };
  const countSoon = throttled(COUNTING, signal, recount);
  const countStepsSoon = throttled(COUNTING, signal, () =>
    Promise.all([countSteps(rows, signal), showReasons(rows, signal)]),
  );
  const names = namesLoaded().then(() => {
    for (const { row, run } of rows.values())
      setText(row.querySelector(".name"), graphName(run.graph_id, run.graph_version));
    fillNames(root);
    showReasons(rows, signal);
  });
  await load();
  countSoon();
  every(1_000, signal, () => rows.forEach(tick));
  follow({ graph_id: filters.graph_id, user_id: filters.user_id, types: "graph" }, signal, {
    state: (state, detail) => tellLine(line, state, detail),
    // The list may be older than where the feed begins.
    snapshot: () => (load(), countSoon()),
    event: (event) => {
      if (!event.type.startsWith("graph.")) return;
      countSoon();
      const shown = rows.get(event.graph_exec_id);
      if (shown) {
        countStepsSoon();
        return update(shown, event);
      }
      if (!belongs(event, filters)) return;
      unseen.add(event.graph_exec_id);
      tellUnseen();
    },
  });
  await names;
}

function tellLine(line, state, detail) {
  const texts = { live: "Live", connecting: "Connecting", lost: "Not live" };
  line.dataset.state = state;
  line.title = detail ?? "";
  setText(line, texts[state]);
}

// ---- counters -----------------------------------------------------------------------------

function count(counters, filters, answer) {
  if (!counters.children.length) {
    fill(
      counters,
      counter(filters, null),
      STATUSES.map((status) => counter(filters, status)),
    );
  }
  if (answer === null) return;
  for (const one of counters.children) {
    const value = one.dataset.status ? answer.counts[one.dataset.status] : answer.total;
    setText(one.firstChild, short(value ?? 0));
    one.title = number(value ?? 0);
  }
}

/** A link that puts a status in or takes it out; it is pressed while it filters. */
function counter(filters, status) {
  const isOn = status === null ? !filters.status.length : filters.status.includes(status);
  const others = filters.status.filter((one) => one !== status);
  const wanted = status === null ? [] : isOn ? others : [...others, status];
  return h(
    "a",
    {
      class: "counter",
      href: address(filters, { status: wanted, cursor: null }),
      "data-status": status,
      "aria-current": isOn ? "true" : false,
    },
    h("b", {}, "·"),
    h(
      "span",
      {},
      status && h("span", { class: "dot", "aria-hidden": "true" }),
      status ? LABELS[status] : "All",
    ),
  );
}

// ---- rows --------------------------------------------------------------------------------

/** A page of runs, or `{ error }`; undefined once the view has ended. */
async function pageOfRuns(filters, signal) {
  const wanted = { status: filters.status, values: false, limit: PAGE, cursor: filters.cursor };
  try {
    return await get("/v1/executions", { ...scope(filters), ...wanted }, { signal });
  } catch (error) {
    if (error.status === 401) throw error;
    return signal.aborted ? undefined : { error };
  }
}

function showPage(list, rows, filters, page) {
  rows.clear();
  for (const run of page.data) rows.set(run.id, { run, row: rowOf(run) });
  fill(
    list,
    page.data.length ? runTable([...rows.values()].map(({ row }) => row)) : nothing(filters),
    pager(filters, page),
  );
}

const runTable = (rows) =>
  table(
    "Runs",
    [
      "Status",
      "Graph",
      "Reason",
      "Run",
      "Owner",
      ["Created", "figure"],
      ["Duration", "figure"],
      ["Steps", "figure"],
      ["Cost, reported", "figure"],
    ],
    rows,
  );

function nothing(filters) {
  if (hasFilters(filters))
    return empty("No run matches. ", h("a", { href: "#/runs" }, "Show all runs"));
  return empty("No runs yet. ", h("code", {}, "execstream simulate"), " makes some.");
}

function pager(filters, page) {
  return h(
    "nav",
    { class: "pager", "aria-label": "Pages" },
    filters.cursor ? h("a", { href: address(filters, { cursor: null }) }, "Newest") : h("span", {}),
    h("span", { class: "hint" }, "as of ", time(page.as_of)),
    page.next_cursor
      ? h("a", { rel: "next", href: address(filters, { cursor: page.next_cursor }) }, "Older")
      : h("span", {}),
  );
}

/** Show the stored steps of `rows` (by run id), which no event contains. */
export async function countSteps(rows, signal) {
  if (!rows.size) return;
  const asked = { graph_exec_id: [...rows.keys()] };
  try {
    for (const steps of (await get("/v1/executions/step_counts", asked, { signal })).data) {
      const shown = rows.get(steps.graph_exec_id);
      if (shown) fillFigures(shown.row, Object.assign(shown.run, { steps }));
    }
  } catch {
    // They are asked for again when a run of the list moves.
  }
}

/** Show why `rows` (by run id) failed: the block and the error of the last failed step. */
export async function showReasons(rows, signal) {
  const failed = [...rows.values()].filter(({ run }) => run.status === "FAILED");
  if (!failed.length) return;
  const asked = { graph_exec_id: failed.map(({ run }) => run.id) };
  try {
    const { data } = await get("/v1/executions/reasons", asked, { signal });
    const reasons = new Map(data.map((reason) => [reason.graph_exec_id, reason]));
    for (const { row, run } of failed) fill(row.cells[2], reasonOf(run, reasons.get(run.id)));
  } catch {
    // They are asked for again when a run of the list moves.
  }
}

function reasonOf(run, reason) {
  if (!reason) return h("span", { class: "reason-text" }, errorOf(run) ?? "");
  const { block_id, class: kind, fingerprint, error, node_exec_id } = reason;
  return [
    h(
      "a",
      { class: "cause", href: link(["runs", run.id], { step: node_exec_id }) },
      blockName(block_id),
    ),
    h(
      "a",
      {
        class: "tag",
        href: link("runs", { block_id, fingerprint }),
        title: "Runs with the same error",
      },
      kind,
    ),
    h("span", { class: "reason-text", title: error ?? "" }, error ?? ""),
  ];
}

/** Also the row of a child run. */
export function rowOf(run) {
  const row = h(
    "tr",
    { "data-id": run.id },
    cell("Status", pill(run.status)),
    cell(
      "Graph",
      h(
        "a",
        { class: "name", href: link(["runs", run.id]) },
        graphName(run.graph_id, run.graph_version),
      ),
      h("span", { class: "hint" }, ` v${run.graph_version}`),
      run.is_dry_run && h("span", { class: "tag" }, "dry run"),
    ),
    cell("Reason"),
    cell("Run", h("code", { title: run.id }, shortId(run.id))),
    cell("Owner", h("a", { href: link("runs", { user_id: run.user_id }) }, run.user_id)),
    figure("Created", time(run.created_at, clock)),
    figure("Duration", ""),
    figure("Steps", ""),
    figure("Cost", ""),
  );
  fillFigures(row, run);
  row.addEventListener("click", (event) => {
    if (!(event.target instanceof Element && event.target.closest("a")) && !String(getSelection()))
      go(link(["runs", run.id]));
  });
  return row;
}

function fillFigures(row, run) {
  const [, , , , , , took, steps, cost] = row.cells;
  const stored = run.steps;
  setText(took, duration(elapsed(run)));
  fill(
    steps,
    stored ? `${number(stored.steps)}${stored.is_complete ? "" : "+"}` : "–",
    stored?.failed > 0 && h("span", { class: "bad" }, ` ${number(stored.failed)} failed`),
    stored?.cascaded > 0 && h("span", { class: "hint" }, ` ${number(stored.cascaded)} cascaded`),
    reportedOtherwise(run) && h("span", { class: "hint" }, ` ${reportedOtherwise(run)}`),
  );
  setText(cost, money(run.stats?.cost));
}

/** The steps that the producer of an ended run reported, where the stored ones differ. */
export function reportedOtherwise({ status, stats, steps }) {
  if (!isEnded(status) || !stats || !steps?.is_complete) return null;
  const [ended, failed] = [stats.node_exec_count, stats.node_error_count].map(numberOf);
  if ([0, null].includes(ended) || (ended === steps.ended && failed === steps.failed)) return null;
  return `(reported: ${plural(ended, "step")}, ${plural(failed ?? 0, "error")})`;
}

/** Milliseconds that it took, or has been running for; null before it starts. */
export function elapsed(run) {
  if (!run.started_at) return null;
  if (run.ended_at) return instant(run.ended_at) - instant(run.started_at);
  return run.status === "RUNNING" ? Math.max(Date.now() - instant(run.started_at), 0) : null;
}

function tick({ row, run }) {
  if (run.status === "RUNNING") setText(row.cells[6], duration(elapsed(run)));
}

function update(shown, event) {
  const { row, run } = shown;
  if (event.type === "graph.deleted") return row.classList.add("gone");
  if (event.status) run.status = event.status;
  run.started_at = event.started_at ?? run.started_at;
  if (event.type === "graph.updated" && (event.ended_at || event.status))
    run.ended_at = isEnded(run.status) ? event.ended_at : null;
  if (event.stats) run.stats = statsOf(event.stats);
  setPill(row.querySelector(".pill"), run.status);
  fillFigures(row, run);
}
