// Error rates, volume and durations of all blocks, counted as it happens.

import { get } from "../lib/api.js";
import { minutesChart } from "../lib/charts.js";
import { fill, h, setText } from "../lib/dom.js";
import { numberOf } from "../lib/exact.js";
import { duration, number, percent, short, shortId } from "../lib/format.js";
import { every } from "../lib/lifetime.js";
import { readable } from "../lib/names.js";
import { cell, empty, failure, figure, notice, table } from "../lib/parts.js";
import { link, replace } from "../lib/route.js";
import { callerRateOf, change, LENGTHS, rate, rateOf, WINDOWS } from "./figures.js";

const POLL = 1_000; // milliseconds

const orNothing = (value) => numberOf(value) ?? -1;
/** @type {Record<string, [string, (block: any) => number]>} */
const SORTS = Object.assign(Object.create(null), {
  // without a prototype, for the address may ask for anything
  rate: ["failure rate, 1 h", (block) => orNothing(rateOf(block.windows["1h"]))],
  now: ["failure rate, 5 min", (block) => orNothing(rateOf(block.windows["5m"]))],
  failed: ["failed steps, 1 h", (block) => orNothing(block.windows["1h"].failed)],
  volume: ["volume, 1 h", (block) => orNothing(block.windows["1h"].ended)],
  slow: ["slowest first (p95)", (block) => orNothing(block.duration_ms?.p95)],
});

export async function show(root, { parameters, signal }) {
  const sort = {
    by: parameters.get("sort") in SORTS ? parameters.get("sort") : "rate",
    text: parameters.get("q") ?? "",
  };
  const place = h("div", { class: "list" });
  const state = h("span", { class: "line", role: "status" });
  const rows = new Map();
  let blocks = [];
  const draw = () => drawRows(place, rows, chosen(blocks, sort), signal);
  fill(root, h("div", { class: "head" }, h("h1", {}, "Blocks"), state), tools(sort, draw), place);
  const whole = new AbortController();
  signal.addEventListener("abort", () => whole.abort());
  await every(POLL, whole.signal, async () => {
    try {
      blocks = (await get("/v1/blocks/live", {}, { signal })).data;
      setText(state, "Live");
      state.dataset.state = "live";
      draw();
    } catch (error) {
      if (signal.aborted) return;
      setText(state, "Not live");
      state.dataset.state = "lost";
      if (error.isMissing) {
        whole.abort();
        await showDay(place, signal);
      } else if (!blocks.length) fill(place, failure(error, "figures of blocks"));
    }
  });
}

function tools(sort, draw) {
  const text = h("input", {
    id: "block-text",
    type: "search",
    value: sort.text,
    placeholder: "name or id",
    autocomplete: "off",
  });
  const by = h(
    "select",
    { id: "block-sort" },
    Object.entries(SORTS).map(([name, [title]]) =>
      h("option", { value: name, selected: name === sort.by }, title),
    ),
  );
  const turn = () => {
    Object.assign(sort, { text: text.value.trim(), by: by.value });
    replace(link("blocks", { q: sort.text, sort: sort.by === "rate" ? null : sort.by }));
    draw();
  };
  text.addEventListener("input", turn);
  by.addEventListener("change", turn);
  return h(
    "form",
    { class: "filters", role: "search", on: { submit: (event) => event.preventDefault() } },
    h("div", {}, h("label", { for: "block-text" }, "Block"), text),
    h("div", {}, h("label", { for: "block-sort" }, "Order by"), by),
  );
}

function chosen(blocks, { by, text }) {
  const [, weight] = SORTS[by];
  const wanted = text.toLowerCase();
  return blocks
    .filter(({ name, block_id }) =>
      `${name ?? ""} ${readable(name ?? "")} ${block_id}`.toLowerCase().includes(wanted),
    )
    .sort((a, b) => weight(b) - weight(a) || titleOf(a).localeCompare(titleOf(b)));
}

const titleOf = ({ name, block_id }) => readable(name ?? shortId(block_id));

function drawRows(place, rows, blocks, signal) {
  if (!blocks.length) return fill(place, empty("No steps have ended yet, or none match."));
  if (!place.querySelector("table")) {
    const windows = Object.values(WINDOWS).map((title) => [title, "figure"]);
    fill(
      place,
      table(
        "Blocks",
        [
          "Block",
          ...windows,
          ["Change, 1 h", "figure"],
          "Last hour",
          ["Ended, 1 h", "figure"],
          ["By caller, 1 h", "figure"],
          ["p50, 1 h", "figure"],
          ["p95, 1 h", "figure"],
          ["p99, 1 h", "figure"],
        ],
        [],
      ),
      h(
        "p",
        { class: "hint" },
        "Failure rate = failed of ended steps; steps that ended with their run, or failed because of a child run, are no failures. By caller: the part that failed by the caller's own input or credentials. Now = this minute and the one before. Change: percentage points against the hour before.",
      ),
    );
  }
  const body = place.querySelector("tbody");
  const kept = new Set(blocks.map(({ block_id }) => block_id));
  for (const [id, { row }] of rows) if (!kept.has(id)) row.remove();
  blocks.forEach((block, index) => {
    if (!rows.has(block.block_id)) rows.set(block.block_id, rowOf(block, signal));
    const { row, spark } = rows.get(block.block_id);
    if (body.children[index] !== row) body.insertBefore(row, body.children[index] ?? null);
    paint(row, block);
    spark.update(block.minutes);
  });
  return null;
}

function rowOf(block, signal) {
  const spark = minutesChart({ width: 132, height: 26, label: titleOf(block), signal });
  const row = h(
    "tr",
    {},
    cell(
      "Block",
      h(
        "a",
        { class: "name", href: link(["blocks", block.block_id]), title: block.block_id },
        titleOf(block),
      ),
      h("span", { class: "hint" }, ` ${block.block_type ?? ""}`),
    ),
    Object.values(WINDOWS).map((title) => figure(title)),
    figure("Change"),
    cell("Last hour", spark.element),
    figure("Ended"),
    figure("By caller"),
    figure("p50"),
    figure("p95"),
    figure("p99"),
  );
  return { row, spark };
}

function paint(row, block) {
  const key = JSON.stringify([block.windows, block.duration_ms]);
  if (row.dataset.key === key) return;
  row.dataset.key = key;
  const cells = row.cells;
  Object.keys(WINDOWS).forEach((window, index) =>
    fill(cells[1 + index], rate(block.windows[window], LENGTHS[window])),
  );
  fill(cells[5], change(block.windows["1h"]));
  setText(cells[7], short(block.windows["1h"].ended));
  setText(cells[8], percent(callerRateOf(block.windows["1h"])));
  ["p50", "p95", "p99"].forEach((name, index) =>
    setText(cells[9 + index], duration(block.duration_ms?.[name])),
  );
}

/** The figures of a server without a tally: the last day, counted from the rows on request. */
async function showDay(place, signal) {
  try {
    const { data } = await get("/v1/blocks/errors", { min_executions: 1 }, { signal });
    const rows = data.map((block) =>
      h(
        "tr",
        {},
        cell("Block", h("span", { class: "name", title: block.block_id }, titleOf(block))),
        figure("Failure rate", percent(block.error_rate)),
        figure("Failed", number(block.failed_executions)),
        figure("Steps", number(block.total_executions)),
      ),
    );
    fill(
      place,
      notice(
        "This server does not count as it goes: these are the last 24 hours, from the stored steps.",
      ),
      rows.length
        ? table(
            "Blocks",
            ["Block", ["Failure rate, 24 h", "figure"], ["Failed", "figure"], ["Steps", "figure"]],
            rows,
          )
        : empty("No steps in the last 24 hours."),
    );
  } catch (error) {
    if (!signal.aborted) fill(place, failure(error, "figures of blocks"));
  }
}
