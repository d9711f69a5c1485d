// Costs as producers reported them: by user, graph, block or day, each with its days.

import { get } from "../lib/api.js";
import { bars } from "../lib/bars.js";
import { fill, h, whenChanged } from "../lib/dom.js";
import { numberOf } from "../lib/exact.js";
import { money, number, short, shortId } from "../lib/format.js";
import { every } from "../lib/lifetime.js";
import { blockName, knownGraphs, namesLoaded } from "../lib/names.js";
import { cell, empty, failure, figure, table } from "../lib/parts.js";
import { link } from "../lib/route.js";

const POLL = 10_000; // milliseconds
const BY = { __proto__: null, user: "User", graph: "Graph", block: "Block", day: "Day" };
const DAYS = [1, 7, 30];

export async function show(root, { parameters, signal }) {
  const by = parameters.get("by") in BY ? parameters.get("by") : "user";
  const days = DAYS.find((one) => String(one) === parameters.get("days")) ?? 7;
  const place = h(
    "div",
    { class: "list", "aria-busy": "true" },
    h("p", { class: "loading" }, "Loading…"),
  );
  const total = h("span", { class: "line", role: "status" });
  fill(
    root,
    h("div", { class: "head" }, h("h1", {}, "Costs"), total),
    h(
      "div",
      { class: "choices" },
      choices("By", Object.entries(BY), by, (one) => link("costs", { by: one, days })),
      choices(
        "Days",
        DAYS.map((one) => [one, one === 1 ? "Today" : `${one} days`]),
        days,
        (one) => link("costs", { by, days: one }),
      ),
    ),
    place,
  );
  await namesLoaded();
  const draw = whenChanged((answer) => showCosts(place, total, answer));
  await every(POLL, signal, async () => {
    try {
      const { as_of: _, ...answer } = await get("/v1/costs", { by, days }, { signal });
      draw(answer);
    } catch (error) {
      if (!signal.aborted) fill(place, failure(error, "costs"));
    }
    place.ariaBusy = null;
  });
}

/** Links of which one is the current choice. */
export function choices(label, options, chosen, href) {
  return h(
    "div",
    { class: "choice", role: "group", "aria-label": label },
    options.map(([value, name]) =>
      h("a", { href: href(value), "aria-current": value === chosen ? "true" : false }, name),
    ),
  );
}

function showCosts(place, total, { by, days, data, total: sum }) {
  fill(total, `${money(sum)} in all`);
  if (!data.length) return fill(place, empty("Nothing ended in this time."));
  return fill(
    place,
    table(
      "Costs",
      [
        BY[by],
        ["Cost", "figure"],
        "By day",
        ["Share", "figure"],
        ["Steps", "figure"],
        ["Failed", "figure"],
        ["Tokens", "figure"],
      ],
      data.map((row) => rowOf(by, row, days, numberOf(sum))),
    ),
    h(
      "p",
      { class: "hint" },
      "As producers reported them, by the day of UTC on which a step ended. ",
      by === "user" || by === "day" ? "Without dry runs." : "With dry runs.",
    ),
  );
}

function rowOf(by, row, days, sum) {
  const titles = days.map((day, index) => `${day}: ${money(row.days[index])}`);
  const runs = link("runs", runsOf(by, row.id, days.length));
  const share = sum ? `${((100 * (numberOf(row.cost) ?? 0)) / sum).toFixed(1)}%` : "–";
  const values = row.days.map(numberOf);
  return h(
    "tr",
    {},
    cell(BY[by], nameOf(by, row.id)),
    figure("Cost", h("a", { href: runs }, money(row.cost))),
    cell("By day", by === "day" ? null : bars(values, titles, `Cost by day: ${titles.join(", ")}`)),
    figure("Share", share),
    figure("Steps", h("a", { href: runs }, number(row.ended))),
    figure(
      "Failed",
      row.failed
        ? h(
            "a",
            { class: "bad", href: link("runs", failedOf(by, row.id, days.length)) },
            number(row.failed),
          )
        : "0",
    ),
    figure("Tokens", short(row.tokens)),
  );
}

const span = (days) => (days === 1 ? "24h" : `${days}d`);

/** Filters of the runs behind a row. A block is known of failed steps only. */
function runsOf(by, id, days) {
  if (by === "day") return { day: id };
  if (by === "block") return { block_id: id, failed: span(days) };
  return { [`${by}_id`]: id, ended: span(days) };
}

const failedOf = (by, id, days) => ({
  ...runsOf(by, id, days),
  ...(by === "block" ? {} : { status: "FAILED" }),
});

/** The name of the newest version. */
const graphNameOf = (id) => knownGraphs().find((one) => one.graph_id === id)?.name ?? shortId(id);

function nameOf(by, id) {
  if (by === "graph") return h("a", { href: link(["graphs", id]), title: id }, graphNameOf(id));
  if (by === "block") return h("a", { href: link(["blocks", id]), title: id }, blockName(id));
  return h("a", { href: link("runs", by === "day" ? { day: id } : { user_id: id }) }, id);
}
