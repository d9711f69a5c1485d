// Steps against time: thin while waiting, thick while running. Rows stay where they are and are
// changed in place, so that a run can be watched.

import { fill, h, setText } from "../lib/dom.js";
import { duration, instant, number } from "../lib/format.js";
import { blockName } from "../lib/names.js";
import { pill, setPill } from "../lib/parts.js";

const AT_ONCE = 200; // rows

/** An element, and `update(state, selected)`; `onSelect(node_exec_id)` when a row is chosen. */
export function timelineView(onSelect) {
  const ruler = h("div", { class: "ruler", "aria-hidden": "true" });
  const list = h("ol", { class: "steps" });
  const more = h("button", { type: "button", class: "quiet", hidden: true });
  const nothing = h("p", { class: "hint" }, "No step yet.");
  const rows = new Map();
  let most = AT_ONCE;
  let last = null;

  function update(state, selected) {
    last = [state, selected];
    const steps = state.ordered();
    const shown = steps.slice(0, most);
    const scale = scaleOf(state.span());
    rule(ruler, scale);
    ruler.hidden = !steps.length;
    nothing.hidden = steps.length > 0;
    shown.forEach((step, index) => {
      if (!rows.has(step.node_exec_id)) rows.set(step.node_exec_id, rowOf(onSelect));
      const row = rows.get(step.node_exec_id);
      if (list.children[index] !== row) list.insertBefore(row, list.children[index] ?? null);
      paint(row, step, scale, selected);
    });
    more.hidden = steps.length <= most;
    setText(
      more,
      `Show ${number(Math.min(AT_ONCE, steps.length - most))} more of ${number(steps.length)} steps`,
    );
  }

  more.addEventListener("click", () => ((most += AT_ONCE), update(...last)));
  return { element: h("div", { class: "timeline" }, ruler, list, nothing, more), update };
}

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
  const step = [1, 2, 5, 10].map((times) => times * power).find((one) => one >= rough);
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
