// Failed steps over time: class of error, block and version of a graph, by hour.

import { get } from "../lib/api.js";
import { bars } from "../lib/bars.js";
import { fill, h, whenChanged } from "../lib/dom.js";
import { numberOf } from "../lib/exact.js";
import { clock, number, plural } from "../lib/format.js";
import { every } from "../lib/lifetime.js";
import { blockName, graphName, namesLoaded } from "../lib/names.js";
import { cell, empty, failure, figure, table } from "../lib/parts.js";
import { link } from "../lib/route.js";
import { choices } from "./costs.js";
import { CLASSES } from "./run_filters.js";

const POLL = 10_000; // milliseconds
const SPANS = [
  [24, "24 hours"],
  [168, "7 days"],
];

export async function show(root, { parameters, signal }) {
  const hours = parameters.get("hours") === "168" ? 168 : 24;
  const only = CLASSES.includes(parameters.get("class")) ? parameters.get("class") : null;
  const place = h(
    "div",
    { class: "list", "aria-busy": "true" },
    h("p", { class: "loading" }, "Loading…"),
  );
  const total = h("span", { class: "line", role: "status" });
  fill(
    root,
    h("div", { class: "head" }, h("h1", {}, "Errors"), total),
    h(
      "div",
      { class: "choices" },
      choices("Time", SPANS, hours, (one) => link("errors", { hours: one, class: only })),
      choices("Class", [[null, "All"], ...CLASSES.map((one) => [one, one])], only, (one) =>
        link("errors", { hours, class: one }),
      ),
    ),
    place,
  );
  await namesLoaded();
  const draw = whenChanged((answer) => showErrors(place, total, answer, only));
  await every(POLL, signal, async () => {
    try {
      const { as_of: _, ...answer } = await get("/v1/errors", { hours }, { signal });
      draw(answer);
    } catch (error) {
      if (!signal.aborted) fill(place, failure(error, "errors"));
    }
    place.ariaBusy = null;
  });
}

function showErrors(place, total, { hours, data, total: sum }, only) {
  fill(total, plural(numberOf(sum), "failure"));
  const rows = data.filter((one) => !only || one.error_class === only);
  if (!rows.length) return fill(place, empty("No step failed in this time."));
  return fill(
    place,
    table(
      "Errors",
      [
        "Class",
        "Block",
        "Graph",
        "By hour",
        ["Failures", "figure"],
        ["Runs", "figure"],
        "Last hour",
      ],
      rows.map((row) => rowOf(row, hours)),
    ),
    h(
      "p",
      { class: "hint" },
      "Failed steps, without those that ended with their run; the 100 most frequent rows.",
    ),
  );
}

function rowOf(row, hours) {
  const { error_class: kind, block_id, graph_id, graph_version } = row;
  const failed = hours.length > 24 ? "7d" : "24h";
  const runs = (span) =>
    link("runs", { class: kind, block_id, graph_id, graph_version, failed: span });
  const values = row.hours.map(numberOf);
  const titles = hours.map((hour, index) => `${clock(hour)}: ${number(row.hours[index])}`);
  const latest = values.at(-1);
  return h(
    "tr",
    {},
    cell("Class", h("a", { class: "tag", href: link("errors", { class: kind }) }, kind)),
    cell(
      "Block",
      h("a", { href: link(["blocks", block_id]), title: block_id }, blockName(block_id)),
    ),
    cell(
      "Graph",
      h(
        "a",
        { href: link(["graphs", graph_id]), title: graph_id },
        graphName(graph_id, graph_version),
      ),
      h("span", { class: "hint" }, ` v${graph_version}`),
    ),
    cell(
      "By hour",
      bars(values, titles, `Failures by hour, ${plural(numberOf(row.failures), "failure")} in all`),
    ),
    figure("Failures", h("a", { class: "bad", href: runs(failed) }, number(row.failures))),
    figure("Runs", h("a", { href: runs(failed) }, number(row.runs))),
    cell("Last hour", latest ? h("a", { href: runs("1h") }, number(latest)) : "0"),
  );
}
