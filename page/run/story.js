// The run in sentences: a line for each command that came for it, as `execstream explain` has them.

import { get } from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import { precise } from "../lib/format.js";
import { cell, empty, failure, table, time } from "../lib/parts.js";

/**
 * Show the story of a run in `place`.
 *
 * @param {HTMLElement} place
 * @param {string} id
 * @param {AbortSignal} signal
 */
export async function showStory(place, id, signal) {
  if (!place.childElementCount)
    fill(place, h("p", { class: "hint", "aria-busy": "true" }, "Loading…"));
  try {
    const path = `/v1/executions/${encodeURIComponent(id)}/explanation`;
    const { summary, lines } = await get(path, {}, { signal });
    const rows = lines.map(rowOf);
    fill(
      place,
      h("p", { class: "summary" }, summary),
      rows.length ? table("Story", ["Time", "Outcome", "What"], rows) : empty("No command came."),
    );
  } catch (error) {
    if (!signal.aborted) fill(place, failure(error, "the story of a run"));
  }
}

function rowOf({ at, outcome, text }) {
  const isApplied = outcome === "applied" || outcome === "duplicate";
  return h(
    "tr",
    {},
    cell("Time", time(at, precise)),
    cell("Outcome", h("span", { class: isApplied ? "good" : "bad" }, outcome)),
    cell("What", text),
  );
}
