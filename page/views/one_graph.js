// One graph: its versions, its last hour, and its nodes.

import { get } from "../lib/api.js";
import { minutesChart } from "../lib/charts.js";
import { fill, h, setText, whenChanged } from "../lib/dom.js";
import { duration, money, number } from "../lib/format.js";
import { every } from "../lib/lifetime.js";
import { graphName, namesLoaded } from "../lib/names.js";
import { cell, empty, failure, figure, panel, table } from "../lib/parts.js";
import { link } from "../lib/route.js";
import { rate } from "./figures.js";
import { VERSION_COLUMNS, versionCells } from "./graphs.js";

const POLL = 5_000; // milliseconds

export async function show(root, { id, signal }) {
  const title = h("h1", {}, id);
  const versions = h("div", { "aria-busy": "true" });
  const nodes = h("div", { "aria-busy": "true" });
  const label = "Runs per minute";
  const chart = minutesChart({ width: 800, height: 190, isLarge: true, label, signal });
  fill(
    root,
    h("p", { class: "crumbs" }, h("a", { href: "#/graphs" }, "Graphs"), " / ", h("code", {}, id)),
    h(
      "div",
      { class: "head" },
      title,
      h("a", { href: link("runs", { graph_id: id }) }, "its runs"),
    ),
    panel("Versions, last 24 hours", null, versions),
    panel("Runs per minute, last hour", null, chart.element),
    panel("Nodes, last 7 days", null, nodes),
  );
  await namesLoaded();
  const draw = whenChanged((graph) => {
    const newest = graph.versions[0]?.graph_version;
    setText(title, graphName(id, newest));
    fill(versions, versionTable(graph.versions));
    fill(nodes, nodeTable(graph.nodes));
  });
  await every(POLL, signal, async () => {
    try {
      const graph = await get("/v1/graph", { graph_id: id }, { signal });
      draw(graph);
      await chart.update(graph.minutes);
    } catch (error) {
      if (!signal.aborted) fill(versions, failure(error, "figures of a graph"));
    }
    versions.ariaBusy = nodes.ariaBusy = null;
  });
}

function versionTable(versions) {
  if (!versions.length) return empty("No run has ended in the last 24 hours.");
  const rows = versions.map((one) =>
    h("tr", {}, h("th", { scope: "row" }, `v${one.graph_version}`), versionCells(one)),
  );
  return table("Versions", ["Version", ...VERSION_COLUMNS], rows);
}

function nodeTable(nodes) {
  if (!nodes.length) return empty("No step has ended in the last 7 days.");
  const rows = nodes.map((one) =>
    h(
      "tr",
      {},
      cell("Node", h("code", {}, one.node_id)),
      figure("Failure rate", rate(one, "7 days")),
      figure("Failed", number(one.failed)),
      figure("Ended", number(one.ended)),
      figure("Mean", duration(one.mean)),
      figure("Cost", money(one.cost)),
    ),
  );
  const names = ["Failure rate", "Failed", "Ended", "Mean", "Cost"];
  return table("Nodes", ["Node", ...names.map((name) => [name, "figure"])], rows);
}
