// The graph of a run, as far as the run has walked it: nodes that have steps, coloured by their
// newest one, and the links that values have taken.

import { fill, h, setText, svg } from "../lib/dom.js";
import { plural } from "../lib/format.js";
import { blockName, blockType } from "../lib/names.js";
import { pill, setPill } from "../lib/parts.js";
import { layered } from "./layout.js";
import { linksOf } from "./links.js";
import { hasFailed } from "./state.js";

const WIDTH = 168;
const HEIGHT = 46;
const GAP_X = 44;
const GAP_Y = 14;
const EDGE = 12;
const MOST = 300; // nodes
const SMALLEST = 0.75; // of their size, so that a wide graph fits; beyond that it scrolls

/** An element, and `update(steps, selected)`; `onSelect(node_exec_id)` when a node is chosen. */
export function graphView(onSelect) {
  const links = svg("svg", { class: "links", "aria-hidden": "true" });
  const plane = h("div", { class: "plane" }, links);
  const frame = h(
    "div",
    { class: "graph scroll", tabindex: 0, role: "group", "aria-label": "Graph" },
    plane,
  );
  const note = h("p", { class: "hint" });
  const boxes = new Map();
  /** @type {string | null} */
  let drawn = null;

  function update(steps, selected) {
    const nodes = nodesOf(steps);
    const shown = new Map(mostOf([...nodes]));
    const found = linksOf(steps);
    const edges = found.links.filter(({ from, to }) => shown.has(from) && shown.has(to));
    const shape = JSON.stringify([[...shown.keys()], edges]);
    if (shape !== drawn) {
      drawn = shape;
      place([...shown.keys()], edges);
      setText(note, noteOf(nodes.size, shown.size, edges.length, found.isPartial));
    }
    for (const [id, node] of shown) paint(boxes.get(id), node, selected);
  }

  function place(ids, edges) {
    frame.hidden = !ids.length;
    if (frame.hidden) return;
    const columns = layered(ids, edges);
    const tallest = Math.max(0, ...columns.map((column) => column.length));
    const spots = new Map();
    columns.forEach((column, x) =>
      column.forEach((id, y) => spots.set(id, spot(x, y + (tallest - column.length) / 2))),
    );
    for (const [id, box] of boxes) if (!spots.has(id)) box.remove(), boxes.delete(id);
    for (const [id, [left, top]] of spots) {
      if (!boxes.has(id)) boxes.set(id, boxOf(onSelect));
      const box = boxes.get(id);
      Object.assign(box.style, { left: `${left}px`, top: `${top}px` });
      plane.append(box);
    }
    const width = 2 * EDGE + columns.length * (WIDTH + GAP_X) - GAP_X;
    const height = 2 * EDGE + tallest * (HEIGHT + GAP_Y) - GAP_Y;
    Object.assign(plane.style, { width: `${width}px`, height: `${height}px` });
    plane.style.zoom = String(Math.min(1, Math.max(SMALLEST, frame.clientWidth / width)));
    links.setAttribute("viewBox", `0 0 ${width} ${height}`);
    fill(
      links,
      edges.map(({ from, to }) => svg("path", { d: curve(spots.get(from), spots.get(to)) })),
    );
  }

  return { element: h("div", {}, frame, note), update };
}

/** As many nodes as are drawn: the first ones, and none that has failed is left out for others. */
function mostOf(nodes) {
  if (nodes.length <= MOST) return nodes;
  const hasFailure = ([, { failed }]) => failed > 0;
  const some = [...nodes.filter(hasFailure), ...nodes.filter((node) => !hasFailure(node))];
  const kept = new Set(some.slice(0, MOST));
  return nodes.filter((node) => kept.has(node));
}

/**
 * Nodes in the order in which the run reached them, with their newest step and their
 * newest failed one. */
function nodesOf(steps) {
  const nodes = new Map();
  for (const step of steps) {
    if (!nodes.has(step.node_id)) nodes.set(step.node_id, { count: 0, failed: 0 });
    const node = nodes.get(step.node_id);
    node.count += 1;
    if (hasFailed(step)) {
      node.failed += 1;
      node.failedStep = step;
    }
    if (!node.step || step.status !== "INCOMPLETE") node.step = step;
  }
  return nodes;
}

function boxOf(onSelect) {
  const box = h(
    "button",
    { type: "button", class: "node" },
    h("span", { class: "name" }),
    h("span", { class: "below" }, pill("INCOMPLETE"), h("span", { class: "hint" })),
  );
  box.addEventListener("click", () => onSelect(box.dataset.step));
  return box;
}

function paint(box, { step, count, failed, failedStep }, selected) {
  const name = blockName(step.block_id);
  setText(box.firstChild, name);
  const status = failed ? "FAILED" : step.status;
  setPill(box.querySelector(".pill"), status);
  const part = failed ? `${failed} of ${count}` : `× ${count}`;
  setText(box.querySelector(".hint"), count > 1 ? part : "");
  box.classList.toggle("failing", failed > 0);
  box.title = `${name}\nnode ${step.node_id}`;
  box.dataset.step = (failedStep ?? step).node_exec_id;
  box.dataset.status = status;
  box.dataset.type = blockType(step.block_id) ?? "";
  box.classList.toggle("selected", box.dataset.step === selected);
}

const spot = (column, row) => [EDGE + column * (WIDTH + GAP_X), EDGE + row * (HEIGHT + GAP_Y)];

function curve([fromX, fromY], [toX, toY]) {
  const [x1, y1, x2, y2] = [fromX + WIDTH, fromY + HEIGHT / 2, toX, toY + HEIGHT / 2];
  const bend = x2 > x1 ? (x2 - x1) / 2 : 60;
  return `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`;
}

function noteOf(all, shown, links, isPartial) {
  const left =
    all > shown ? `The first ${shown}, and those that failed, of ${plural(all, "node")}. ` : "";
  const partly = isPartial ? " Only the first values were compared." : "";
  if (!all) return "No step yet.";
  if (!links)
    return `${left}Nodes from left to right as the run reached them; no links: no step's input is a value that exactly one other node gave out.${partly}`;
  return `${left}Links are not stored: one is drawn where a step's input is exactly what one other node gave out.${partly}`;
}
