// Steps against time: thin while waiting, thick while running. Rows stay where they are and are
// changed in place, so that a run can be watched.

import { fill, h, setText } from "../lib/dom.js";
import { duration, instant, number, plural } from "../lib/format.js";
import { blockName } from "../lib/names.js";
import { pill, setPill } from "../lib/parts.js";
import { errorOf, hasFailed } from "./state.js";

const BEYOND = 15; // rows that are there above and below those in sight
const MODES = { all: "In order", first: "Failed first", only: "Failed only" };

/**
 * An element, and `update(state, selected)`; `onSelect(node_exec_id)` when a row is chosen.
 *
 * Only the rows in sight are in the document, so that a run may have any number of steps. Steps of
 * a failed run come with the failed ones first, until the reader chooses otherwise.
 */
export function timelineView(onSelect) {
  const tools = toolsOf(() => update(...last));
  const ruler = h("div", { class: "ruler", "aria-hidden": "true" });
  const list = h("ol", { class: "steps" });
  const nothing = h("p", { class: "hint", hidden: true });
  const box = h("div", { class: "timeline", "aria-busy": "true" }, ruler, list, nothing);
  const rows = new Map();
  /** @type {[any, string | null]} */
  let last;
  /** @type {any[]} */
  let shown = [];
  let height = 0;

  function update(state, selected) {
    last = [state, selected];
    const steps = state.ordered();
    shown = tools.chosen(steps, state.run.status === "FAILED");
    rule(ruler, scaleOf(state.span()));
    box.ariaBusy = null;
    ruler.hidden = !shown.length;
    nothing.hidden = shown.length > 0;
    setText(nothing, steps.length ? "No step matches." : "No step yet.");
    draw();
  }

  function draw() {
    const [state, selected] = last;
    const scale = scaleOf(state.span());
    const [from, to] = sight();
    const wanted = shown.slice(from, to);
    const kept = new Set(wanted.map((step) => step.node_exec_id));
    for (const [id, row] of rows) if (!kept.has(id)) row.remove(), rows.delete(id);
    wanted.forEach((step, index) => {
      if (!rows.has(step.node_exec_id)) rows.set(step.node_exec_id, rowOf(onSelect));
      const row = rows.get(step.node_exec_id);
      if (list.children[index] !== row) list.insertBefore(row, list.children[index] ?? null);
      paint(row, step, scale, selected);
    });
    if (!height && (height = list.querySelector("li")?.offsetHeight ?? 0)) return draw();
    list.style.paddingTop = `${from * height}px`;
    list.style.paddingBottom = `${Math.max(shown.length - to, 0) * height}px`;
  }

  /** The first and the last row in sight, with some around them. */
  function sight() {
    if (!height) return [0, 2 * BEYOND];
    const above = Math.floor((box.scrollTop - list.offsetTop + box.offsetTop) / height);
    const from = Math.max(Math.min(above, shown.length) - BEYOND, 0);
    return [from, from + Math.ceil(box.clientHeight / height) + 2 * BEYOND];
  }

  box.addEventListener("scroll", () => last && draw(), { passive: true });
  new ResizeObserver(() => {
    height = 0; // rows of a narrow page are higher
    if (last) draw();
  }).observe(box);
  return { element: h("div", {}, tools.element, box), update };
}

/** The choice of steps: `chosen(steps, isFailed)`, and `onChange()` when the reader changes it. */
function toolsOf(onChange) {
  const text = h("input", {
    type: "search",
    placeholder: "block, node, id or error",
    "aria-label": "Search the steps",
    autocomplete: "off",
  });
  const mode = h(
    "select",
    { "aria-label": "Steps shown" },
    Object.entries(MODES).map(([value, label]) => h("option", { value }, label)),
  );
  const count = h("span", { class: "hint", role: "status" });
  let isChosen = false;
  text.addEventListener("input", onChange);
  mode.addEventListener("change", () => ((isChosen = true), onChange()));

  function chosen(steps, isFailed) {
    if (!isChosen) mode.value = isFailed ? "first" : "all";
    const wanted = text.value.trim().toLowerCase();
    const found = wanted ? steps.filter((step) => holds(step, wanted)) : steps;
    const failed = found.filter(hasFailed);
    setText(count, `${plural(found.length, "step")}, ${number(failed.length)} failed`);
    if (mode.value === "only") return failed;
    if (mode.value === "all" || !failed.length) return found;
    return [...failed, ...found.filter((step) => !hasFailed(step))];
  }

  return { element: h("div", { class: "tools" }, text, mode, count), chosen };
}

const holds = (step, text) =>
  [blockName(step.block_id), step.node_id, step.node_exec_id, errorOf(step) ?? ""].some((one) =>
    one.toLowerCase().includes(text),
  );

function rowOf(onSelect) {
  const row = h(
    "button",
    { type: "button", class: "step" },
    h("span", { class: "name" }),
    pill("INCOMPLETE"),
    h(
      "span",
      { class: "track", "aria-hidden": "true" },
      h("span", { class: "wait" }),
      h("span", { class: "ran" }),
    ),
    h("span", { class: "took" }),
  );
  row.addEventListener("click", () => onSelect(row.dataset.id));
  return h("li", {}, row);
}

function paint(item, step, scale, selected) {
  const row = item.firstChild;
  const [name, status, track, took] = row.children;
  row.dataset.id = step.node_exec_id;
  row.dataset.status = step.status;
  row.classList.toggle("selected", step.node_exec_id === selected);
  setText(name, blockName(step.block_id));
  setPill(status, step.status);
  const added = instant(step.queue_time ?? step.add_time);
  const started = instant(step.start_time);
  const isOpen = ["INCOMPLETE", "QUEUED", "RUNNING"].includes(step.status);
  const ended = instant(step.end_time) ?? (isOpen ? scale.end : (started ?? added));
  bar(track.firstChild, added, started ?? ended, scale);
  bar(track.lastChild, started, ended, scale);
  setText(took, started === null ? "" : duration(ended - started));
  row.title = `${blockName(step.block_id)}: waited ${duration((started ?? ended) - added)}${started === null ? "" : `, ran ${duration(ended - started)}`}`;
}

function bar(element, from, to, scale) {
  element.hidden = from === null;
  if (from === null) return;
  element.style.left = `${scale.at(from)}%`;
  element.style.width = `${Math.max(scale.at(to) - scale.at(from), 0)}%`;
}

function scaleOf([begin, end]) {
  const length = Math.max(end - begin, 1);
  return { begin, end, length, at: (time) => ((time - begin) / length) * 100 };
}

/** Marks at round times, about five of them. */
function rule(ruler, { length }) {
  const rough = length / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((times) => times * power).find((one) => one >= rough) ?? rough;
  const marks = [];
  for (let at = 0; at <= length * 0.97; at += step) {
    marks.push(
      h(
        "span",
        { vars: { left: `${(at / length) * 100}%` } },
        at === 0 ? "0" : duration(at).replace(".0 ", " "),
      ),
    );
  }
  fill(ruler, marks);
}
