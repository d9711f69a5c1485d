// Filters of the list of runs. All of them are in the address, so that a filtered list is a link.

import { fill, h } from "../lib/dom.js";
import { blockName, knownBlocks, knownGraphs } from "../lib/names.js";
import { go, link } from "../lib/route.js";
import { STATUSES } from "../lib/statuses.js";

export const SPANS = {
  __proto__: null, // the address may ask for anything
  "5m": "5 minutes",
  "15m": "15 minutes",
  "1h": "hour",
  "24h": "24 hours",
  "7d": "7 days",
  "30d": "30 days",
};
const UNITS = { m: 60_000, h: 3_600_000, d: 86_400_000 };
// As in streams/totals/error_classes.py (a test compares them).
export const CLASSES = ["input", "credentials", "quota", "outage", "timeout", "other", "child"];

const TEXTS = ["user_id", "graph_id", "graph_version", "block_id", "fingerprint"];
const NUMBERS = ["longer", "shorter", "cost"];
const TIMES = ["since", "ended", "failed", "silent"];
// No event has these.
const UNHEARD = [
  "class",
  "block_id",
  "fingerprint",
  "failed",
  "silent",
  "day",
  "attribute",
  ...NUMBERS,
];
const RARE = [
  "graph_version",
  "fingerprint",
  "ended",
  "failed",
  "silent",
  "day",
  "attribute",
  ...NUMBERS,
];

export function filtersOf(parameters) {
  const filters = {
    status: parameters.getAll("status").filter((status) => STATUSES.includes(status)),
    class: CLASSES.includes(parameters.get("class")) ? parameters.get("class") : null,
    cursor: parameters.get("cursor"),
    attribute: orNull(parameters.getAll("attribute").filter((pair) => pair.indexOf("=") > 0)),
  };
  for (const name of TEXTS) filters[name] = parameters.get(name);
  for (const name of NUMBERS)
    filters[name] = Number(parameters.get(name)) > 0 ? parameters.get(name) : null;
  for (const name of TIMES)
    filters[name] = parameters.get(name) in SPANS ? parameters.get(name) : null;
  const day = parameters.get("day");
  filters.day = /^\d{4}-\d\d-\d\d$/.test(day ?? "") && !Number.isNaN(Date.parse(day)) ? day : null;
  if (!/^\d{1,9}$/.test(filters.graph_version ?? "")) filters.graph_version = null;
  return filters;
}

const orNull = (list) => (list.length ? list : null);

export const address = (filters, change) => link("runs", { ...filters, ...change });

/** The query to the API, without the statuses. */
export function scope(filters) {
  const { user_id, graph_id, graph_version, block_id, fingerprint } = filters;
  return {
    user_id,
    graph_id,
    graph_version,
    block_id,
    fingerprint,
    error_class: filters.class,
    attribute: filters.attribute,
    created_time_gte: ago(filters.since),
    ended_time_gte: filters.day ? `${filters.day}T00:00:00Z` : ago(filters.ended),
    ended_time_lte: filters.day && `${filters.day}T23:59:59.999999Z`,
    failed_time_gte: ago(filters.failed),
    updated_time_lte: ago(filters.silent),
    duration_gte: filters.longer,
    duration_lte: filters.shorter,
    cost_gte: filters.cost && Math.round(Number(filters.cost) * 100),
  };
}

const ago = (span) =>
  span && new Date(Date.now() - parseInt(span, 10) * UNITS[span.at(-1)]).toISOString();

/** Whether a run of which this was heard may belong on this list. */
export function belongs(event, filters) {
  if (UNHEARD.some((name) => filters[name])) return false;
  if (filters.graph_version && event.graph_version !== Number(filters.graph_version)) return false;
  if (filters.status.length) return filters.status.includes(event.status);
  return event.type === "graph.created";
}

export const hasFilters = (filters) =>
  filters.status.length > 0 ||
  ["class", "day", "attribute", ...TEXTS, ...NUMBERS, ...TIMES].some((name) => filters[name]);

export function filterForm(filters) {
  const form = h(
    "form",
    { class: "filters", role: "search" },
    text(filters, "user_id", "Owner"),
    text(filters, "graph_id", "Graph", { list: "graphs", placeholder: "id" }),
    text(filters, "block_id", "Failed block", { list: "blocks", placeholder: "id" }),
    choice(
      filters,
      "class",
      "Error class",
      "any",
      CLASSES.map((one) => [one, one]),
    ),
    span(filters, "since", "Created in", "any time"),
    h(
      "div",
      {},
      h("label", { for: "filter-run" }, "Open run"),
      h("input", {
        id: "filter-run",
        name: "run",
        type: "search",
        placeholder: "id",
        autocomplete: "off",
        pattern: "[0-9a-fA-F\\-]{36}",
        title: "The whole id of a run",
      }),
    ),
    h("datalist", { id: "graphs" }),
    h("datalist", { id: "blocks" }),
    h("button", {}, "Apply"),
    hasFilters(filters) && h("a", { class: "quiet", href: "#/runs" }, "Clear"),
    rareFilters(filters),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const fields = new FormData(form);
    const { run, ...wanted } = Object.fromEntries(fields);
    const attribute = fields.getAll("attribute").filter(Boolean);
    go(
      run
        ? link(["runs", String(run).trim().toLowerCase()])
        : address(filters, { ...trimmed(wanted), attribute, cursor: null }),
    );
  });
  for (const select of form.querySelectorAll("select"))
    select.addEventListener("change", () => form.requestSubmit());
  return form;
}

function rareFilters(filters) {
  return h(
    "details",
    { class: "rare", open: RARE.some((name) => filters[name]) },
    h("summary", {}, "More filters"),
    h(
      "div",
      {},
      text(filters, "graph_version", "Graph version", { inputmode: "numeric" }),
      text(filters, "fingerprint", "Error fingerprint"),
      span(filters, "failed", "A step failed in", "any time"),
      span(filters, "ended", "Ended in", "any time"),
      text(filters, "day", "Ended on, UTC", { placeholder: "2026-03-01" }),
      span(filters, "silent", "Silent for", "any time", "at least"),
      text(filters, "longer", "At least, seconds", { inputmode: "decimal" }),
      text(filters, "shorter", "At most, seconds", { inputmode: "decimal" }),
      text(filters, "cost", "Cost at least, $", { inputmode: "decimal" }),
      [...(filters.attribute ?? []), ""].map(attributeField),
    ),
  );
}

function text(filters, name, label, extra = {}) {
  const field = h("input", {
    id: `filter-${name}`,
    name,
    type: "search",
    value: filters[name] ?? "",
    autocomplete: "off",
    spellcheck: "false",
    ...extra,
  });
  return h("div", {}, h("label", { for: `filter-${name}` }, label), field);
}

function attributeField(pair, index) {
  const id = `filter-attribute-${index}`;
  const field = h("input", {
    id,
    name: "attribute",
    type: "search",
    value: pair,
    placeholder: "key=value",
    pattern: "[A-Za-z0-9_.:@\\|\\-]+=.*",
    title: "The key of an attribute, an equals sign and the value",
    autocomplete: "off",
    spellcheck: "false",
  });
  return h("div", {}, h("label", { for: id }, index ? "and attribute" : "Attribute"), field);
}

function choice(filters, name, label, any, options) {
  const select = h(
    "select",
    { id: `filter-${name}`, name },
    h("option", { value: "" }, any),
    options.map(([value, shown]) =>
      h("option", { value, selected: filters[name] === value }, shown),
    ),
  );
  return h("div", {}, h("label", { for: `filter-${name}` }, label), select);
}

const span = (filters, name, label, any, before = "the last") =>
  choice(
    filters,
    name,
    label,
    any,
    Object.entries(SPANS).map(([value, shown]) => [value, `${before} ${shown}`]),
  );

const trimmed = (values) =>
  Object.fromEntries(Object.entries(values).map(([name, value]) => [name, value.trim()]));

/** Offer the names of graphs and blocks, once they are loaded. */
export function fillNames(root) {
  fill(
    root.querySelector("#graphs"),
    knownGraphs().map(({ graph_id, name }) => h("option", { value: graph_id }, name)),
  );
  fill(
    root.querySelector("#blocks"),
    knownBlocks().map((id) => h("option", { value: id }, blockName(id))),
  );
}
