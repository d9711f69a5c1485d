// Graphs by version: how their runs end, how long they take, and their cost.

import { get } from "../lib/api.js";
import { minutesChart } from "../lib/charts.js";
import { fill, h, whenChanged } from "../lib/dom.js";
import { numberOf } from "../lib/exact.js";
import { duration, money, number } from "../lib/format.js";
import { every } from "../lib/lifetime.js";
import { graphName, namesLoaded } from "../lib/names.js";
import { cell, empty, failure, figure, table } from "../lib/parts.js";
import { link } from "../lib/route.js";
import { rate } from "./figures.js";

const POLL = 5_000; // milliseconds
export const VERSION_COLUMNS = [
  ["Failure rate", "figure"],
  ["Failed", "figure"],
  ["Ended", "figure"],
  ["Terminated", "figure"],
  ["p50", "figure"],
  ["p95", "figure"],
  ["Cost", "figure"],
  ["Users", "figure"],
];

export async function show(root, { signal }) {
  const place = h("div", { class: "list", "aria-busy": "true" });
  const state = h("span", { class: "line", role: "status" });
  fill(root, h("div", { class: "head" }, h("h1", {}, "Graphs"), state), place);
  await namesLoaded();
  const charts = new Map();
  const draw = whenChanged((graphs) => showGraphs(place, graphs, charts, signal));
  await every(POLL, signal, async () => {
    try {
      const { data } = await get("/v1/graphs/figures", {}, { signal });
      draw(data);
      fill(state, "Live");
      state.dataset.state = "live";
    } catch (error) {
      if (!signal.aborted) fill(place, failure(error, "figures of graphs"));
    }
    place.ariaBusy = null;
  });
}

function showGraphs(place, graphs, charts, signal) {
  if (!graphs.length) return fill(place, empty("No run has ended in the last 24 hours."));
  const worst = (graph) => Math.max(...graph.versions.map((one) => numberOf(one.failed)));
  const rows = [...graphs]
    .sort((a, b) => worst(b) - worst(a))
    .flatMap((graph) =>
      graph.versions.map((one, index) => rowOf(one, index === 0 && graph, charts, signal)),
    );
  return fill(
    place,
    table("Graphs", ["Graph", "Last hour", ...VERSION_COLUMNS], rows),
    h(
      "p",
      { class: "hint" },
      "Runs that ended in the last 24 hours, by version; last hour: runs of all versions, by minute. Cost as reported by producers.",
    ),
  );
}

function rowOf(version, graph, charts, signal) {
  const { graph_id: id, graph_version: at } = version;
  return h(
    "tr",
    {},
    cell(
      "Graph",
      h("a", { class: "name", href: link(["graphs", id]), title: id }, graphName(id, at)),
      h("span", { class: "hint" }, ` v${at}`),
    ),
    cell("Last hour", graph && chartOf(graph, charts, signal)),
    ...versionCells(version),
  );
}

/** Kept while the view is open: a new one would have to be drawn at each answer. */
function chartOf({ graph_id: id, versions, minutes }, charts, signal) {
  if (!charts.has(id)) {
    const label = graphName(id, versions[0].graph_version);
    charts.set(id, minutesChart({ width: 132, height: 26, label, signal }));
  }
  charts.get(id).update(minutes);
  return charts.get(id).element;
}

/** Cells of VERSION_COLUMNS. */
export function versionCells(version) {
  const { graph_id, graph_version } = version;
  const ended = { graph_id, graph_version, ended: "24h" };
  const runs = (count, filters) =>
    h("a", { href: link("runs", { ...ended, ...filters }) }, number(count));
  return [
    figure("Failure rate", rate(version, "24 hours")),
    figure("Failed", runs(version.failed, { status: "FAILED" })),
    figure("Ended", runs(version.ended, { status: ["COMPLETED", "FAILED"] })),
    figure("Terminated", runs(version.terminated, { status: "TERMINATED" })),
    figure("p50", seconds(version.p50)),
    figure("p95", seconds(version.p95)),
    figure("Cost", money(version.cost)),
    figure("Users", number(version.users)),
  ];
}

const seconds = (value) => duration((numberOf(value) ?? NaN) * 1000);
