// One block: its windows against the ones before, the last hour, its errors and their runs.

import { get } from "../lib/api.js";
import { minutesChart } from "../lib/charts.js";
import { fill, h, setText } from "../lib/dom.js";
import { duration, number, percent, short, shortId } from "../lib/format.js";
import { every } from "../lib/lifetime.js";
import { blockName, graphName, namesLoaded, readable } from "../lib/names.js";
import { cell, empty, failure, figure, panel, pill, table, time } from "../lib/parts.js";
import { link } from "../lib/route.js";
import { callerRateOf, change, LENGTHS, rate, WINDOWS } from "./figures.js";

const POLL = 2_000; // milliseconds

export async function show(root, { id, signal }) {
  const title = h("h1", {}, blockName(id));
  const type = h("span", { class: "tag", hidden: true });
  const figures = h("div", {});
  const errors = h("div", {});
  const runs = h("div", {});
  const chart = minutesChart({
    width: 800,
    height: 190,
    isLarge: true,
    label: "Steps per minute",
    signal,
  });
  fill(
    root,
    h("p", { class: "crumbs" }, h("a", { href: "#/blocks" }, "Blocks"), " / ", h("code", {}, id)),
    h("div", { class: "head" }, title, type),
    panel("Failure rate", null, figures),
    panel("Steps per minute, last hour", null, chart.element),
    panel("What goes wrong, last 24 hours", null, errors),
    panel("Failed steps of 24 hours, last added first", null, runs),
  );
  await namesLoaded();
  setText(title, blockName(id));
  every(POLL, signal, async () => {
    try {
      const block = await get("/v1/block", { block_id: id }, { signal });
      if (block.name) setText(title, readable(block.name));
      type.hidden = !block.block_type;
      setText(type, block.block_type ?? "");
      fill(figures, windowTable(block));
      showErrors(errors, block.fingerprints ?? []);
      await chart.update(block.minutes);
    } catch (error) {
      if (!signal.aborted) fill(figures, failure(error, "live figures of a block"));
    }
  });
  failedSteps(runs, id, signal);
}

function windowTable({ windows, duration_ms: took }) {
  const rows = Object.keys(WINDOWS).map((name) => {
    const window = windows[name] ?? {};
    return h(
      "tr",
      {},
      h("th", { scope: "row" }, LENGTHS[name]),
      figure("Failure rate", rate(window, LENGTHS[name])),
      figure("Before", rate(window.before)),
      figure("Change", change(window)),
      figure("Failed", number(window.failed)),
      figure("By caller", percent(callerRateOf(window))),
      figure("Ended", short(window.ended ?? 0)),
      figure("Cascaded", number(window.cascaded ?? 0)),
      figure("Skewed", number(window.skewed ?? 0)),
    );
  });
  return [
    table(
      "Failure rate by window",
      [
        "Window",
        ["Failure rate", "figure"],
        ["Window before", "figure"],
        ["Change, points", "figure"],
        ["Failed", "figure"],
        ["By caller", "figure"],
        ["Ended", "figure"],
        ["Cascaded", "figure"],
        ["Skewed", "figure"],
      ],
      rows,
    ),
    took &&
      h(
        "p",
        { class: "hint" },
        `Steps of the last hour took ${duration(took.p50)} (p50), ${duration(took.p95)} (p95), ${duration(took.p99)} (p99).`,
      ),
    h(
      "p",
      { class: "hint" },
      "Cascaded: steps that failed because their run ended; no other figure has them. Skewed: steps whose sender dated their end more than an hour ahead; no other figure has them. By caller: the part of ended steps that failed by the caller's own input or credentials.",
    ),
  ];
}

function showErrors(place, fingerprints) {
  const key = JSON.stringify(fingerprints);
  if (place.dataset.key === key) return;
  place.dataset.key = key;
  if (!fingerprints.length) return fill(place, empty("No errors with a text."));
  const rows = fingerprints.map((one) =>
    h(
      "tr",
      {},
      figure("Count", number(one.count)),
      cell("Class", h("span", { class: "tag" }, one.class.replaceAll("_", " "))),
      cell("Error", h("span", { class: "error-text" }, one.text)),
      cell("Last", time(one.last_at)),
      cell(
        "Sample",
        one.graph_exec_id &&
          h(
            "a",
            { href: link(["runs", one.graph_exec_id], { step: one.node_exec_id }) },
            "open run",
          ),
      ),
    ),
  );
  return fill(
    place,
    table("Errors", [["Count", "figure"], "Class", "Error", "Last", "Sample"], rows),
  );
}

async function failedSteps(place, id, signal) {
  const rows = [];
  let cursor = null;
  const load = async () => {
    try {
      const page = await get(
        "/v1/block/steps",
        { block_id: id, status: "FAILED", limit: 25, cursor },
        { signal },
      );
      rows.push(...page.data.map(rowOf));
      cursor = page.next_cursor;
      const more =
        cursor && h("button", { type: "button", class: "quiet", on: { click: load } }, "Show more");
      if (!rows.length) return fill(place, empty("No step of this block has failed."));
      return fill(
        place,
        table(
          "Failed steps",
          ["Status", "Added", "Graph", "Run", "Owner", ["Ran", "figure"], "Error"],
          rows,
        ),
        more,
      );
    } catch (error) {
      return signal.aborted || fill(place, failure(error, "the runs behind a block's figures"));
    }
  };
  await load();
}

function rowOf(step) {
  const ran = Date.parse(step.ended_time) - Date.parse(step.started_time);
  return h(
    "tr",
    {},
    cell("Status", pill(step.status)),
    cell("Added", time(step.added_time)),
    cell("Graph", graphName(step.graph_id, step.graph_version)),
    cell(
      "Run",
      h(
        "a",
        {
          href: link(["runs", step.graph_exec_id], { step: step.node_exec_id }),
          title: step.graph_exec_id,
        },
        h("code", {}, shortId(step.graph_exec_id)),
      ),
    ),
    cell("Owner", step.user_id),
    figure("Ran", duration(Number.isNaN(ran) ? null : ran)),
    cell(
      "Error",
      h("span", { class: "error-text" }, step.error ?? ""),
      step.child_graph_exec_id &&
        h("a", { href: link(["runs", step.child_graph_exec_id]) }, " child run"),
    ),
  );
}
