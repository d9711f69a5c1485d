// Changes of a run from a moment until now, by the rules of `execstream diff`: a field of the run or
// of a step is one line, each item of its values too.

import { fill, h } from "../lib/dom.js";
import { textOf } from "../lib/exact.js";
import { plural } from "../lib/format.js";
import { blockName } from "../lib/names.js";
import { cell, pill, table } from "../lib/parts.js";
import { LABELS } from "../lib/statuses.js";

const NESTED = new Set(["inputs", "outputs", "stats", "input_data", "output_data", "attributes"]);
const SAME = new Set(["user_id", "graph_id", "graph_version", "graph_exec_id", "given", "emitted"]);
const NOTHING = Object.freeze(Object.create(null)); // items may have any name
const MOST = 200; // lines shown
const LONGEST = 80; // characters of a value

/**
 * @typedef {{step: any, field: string, was: any, now: any}} Change
 */

/**
 * What differs between two states of a run; a step that came is one change of the field `step`.
 *
 * @param {{run: any, steps: Map<string, any>, outputs: () => any}} before
 * @param {{run: any, steps: Map<string, any>, outputs: () => any}} after
 * @returns {Change[]}
 */
export function changesOf(before, after) {
  const whole = ({ run, outputs }, state) => ({ ...run, outputs: outputs.call(state) });
  const changes = fieldsOf(null, whole(before, before), whole(after, after));
  for (const [id, step] of after.steps) {
    const old = before.steps.get(id);
    if (old) changes.push(...fieldsOf(step, old, step));
    else changes.push({ step, field: "step", was: null, now: step.status });
  }
  return changes;
}

function fieldsOf(step, before, after) {
  return differing(before, after).flatMap(([name, was, now]) => {
    if (SAME.has(name) || name === "left_out") return [];
    if (!NESTED.has(name)) return [{ step, field: name, was, now }];
    return differing(was ?? NOTHING, now ?? NOTHING).map(([item, old, one]) => ({
      step,
      field: `${name}.${item}`,
      was: old,
      now: one,
    }));
  });
}

/** @returns {[string, any, any][]} items that differ; a missing one is null */
function differing(before, after) {
  return [...new Set([...Object.keys(after), ...Object.keys(before)])]
    .map(
      (name) =>
        /** @type {[string, any, any]} */ ([name, before[name] ?? null, after[name] ?? null]),
    )
    .filter(([, was, now]) => JSON.stringify(was, sorted) !== JSON.stringify(now, sorted));
}

/** Members in one order: Postgres has its own, and events have that of the sender. */
function sorted(_name, value) {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  if (JSON.isRawJSON?.(value)) return value;
  const ordered = Object.create(null);
  for (const name of Object.keys(value).sort()) ordered[name] = value[name];
  return ordered;
}

/** An element, and `update(past, now)`; it is empty while no moment of the past is chosen. */
export function changesView(onSelect) {
  const element = h("div", { class: "changes", hidden: true });
  let shown = null;

  function update(past, now) {
    element.hidden = past === null;
    if (past === shown) return;
    shown = past;
    if (past === null) return fill(element);
    const changes = changesOf(past, now);
    const rows = changes.slice(0, MOST).map((change) => rowOf(change, onSelect));
    const left = changes.length - rows.length;
    return fill(
      element,
      h("h3", {}, `${plural(changes.length, "change")} since then`),
      rows.length > 0 && table("Changes since then", ["Where", "Field", "Then", "Now"], rows),
      left > 0 && h("p", { class: "hint" }, `${plural(left, "more change", "more changes")}.`),
    );
  }

  return { element, update };
}

function rowOf({ step, field, was, now }, onSelect) {
  const where = step && h("button", { type: "button", class: "plain" }, blockName(step.block_id));
  where?.addEventListener("click", () => onSelect(step.node_exec_id));
  return h(
    "tr",
    {},
    cell("Where", where ?? "run"),
    cell("Field", h("code", {}, field)),
    cell("Then", shownValue(was)),
    cell("Now", shownValue(now)),
  );
}

function shownValue(value) {
  if (typeof value === "string" && value in LABELS) return pill(value);
  const text = value === null ? "–" : textOf(value);
  return text.length > LONGEST ? `${text.slice(0, LONGEST - 1)}…` : text;
}
