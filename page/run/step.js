// One step beside the run: its times, inputs and outputs.

import { fill, h } from "../lib/dom.js";
import { numberOf, textOf } from "../lib/exact.js";
import { duration, instant, money, number, precise } from "../lib/format.js";
import { blockName, blockType } from "../lib/names.js";
import { pill, pins, time } from "../lib/parts.js";
import { link } from "../lib/route.js";
import { childOf, errorOf, isCascaded } from "./state.js";

const HIDDEN = new Set(["error", "walltime", "cost", "child_graph_exec_id"]);

/** An element, and `update(step)`; null closes it. `onClose()` when the reader does. */
export function stepView(onClose) {
  const body = h("div", { class: "body" });
  const close = h(
    "button",
    { type: "button", class: "quiet", "aria-label": "Close the step" },
    "Close",
  );
  const element = h(
    "aside",
    { class: "drawer", hidden: true, tabindex: -1, "aria-label": "Step" },
    h("div", { class: "close" }, close),
    body,
  );
  let shown = "";
  close.addEventListener("click", onClose);
  element.addEventListener("keydown", (event) => event.key === "Escape" && onClose());

  function update(step) {
    const wasHidden = element.hidden;
    element.hidden = step === null;
    const now = step === null ? "" : JSON.stringify(step);
    if (now === shown) return;
    shown = now;
    if (step !== null) fill(body, contents(step));
    if (wasHidden && step !== null) element.focus({ preventScroll: true });
  }

  return { element, update };
}

function contents(step) {
  const error = errorOf(step);
  const child = childOf(step);
  const inputs = Object.keys(step.input_data).length;
  const outputs = Object.keys(step.output_data).length;
  return [
    h("h2", {}, blockName(step.block_id)),
    pill(step.status),
    error && h("pre", { class: "error" }, error),
    isCascaded(step) && h("p", { class: "hint" }, "This step failed because its run ended."),
    child &&
      h(
        "p",
        { class: "hint" },
        step.status === "FAILED" ? "It failed because of a child run: " : "It started a run: ",
        h("a", { href: link(["runs", child]) }, h("code", {}, child)),
      ),
    h(
      "dl",
      { class: "facts" },
      facts(step).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]),
    ),
    h("h3", {}, `Inputs (${inputs})`),
    pins(step.input_data),
    h("h3", {}, `Outputs (${outputs})`),
    pins(step.output_data, { isList: true }),
  ];
}

function facts(step) {
  const [queued, started, ended] = [step.queue_time, step.start_time, step.end_time].map(instant);
  const between = (from, to) => (from === null || to === null ? "–" : duration(to - from));
  const stats = Object.entries(step.stats ?? {}).filter(
    ([name, value]) => !HIDDEN.has(name) && numberOf(value), // neither 0 nor anything else
  );
  return [
    ["Added", time(step.add_time, precise)],
    ["Waited", between(queued, started)],
    ["Ran", between(started, ended)],
    ["Started", time(step.start_time, precise)],
    ["Ended", time(step.end_time, precise)],
    ["Cost", money(step.stats?.cost)],
    ...stats.map(([name, value]) => [
      name.replaceAll("_", " "),
      typeof value === "number" ? number(value) : textOf(value),
    ]),
    ["Type", blockType(step.block_id) ?? "not in the catalogue"],
    ["Block", h("a", { href: link(["blocks", step.block_id]) }, h("code", {}, step.block_id))],
    ["Node", h("code", {}, step.node_id)],
    ["Step", h("code", {}, step.node_exec_id)],
  ];
}
