// The journal of a run, entry by entry; it follows live events once the end is reached.

import { get } from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import { precise } from "../lib/format.js";
import { blockName, namesLoaded } from "../lib/names.js";
import { cell, failure, pill, table, time, valueView } from "../lib/parts.js";

const PAGE = 200;
const DATA = [
  "data",
  "execution_data",
  "stats",
  "inputs",
  "credential_inputs",
  "nodes_input_masks",
  "attributes",
];

/** An element, `load()` the next page, `add(event)` what came over the feed, and `catchUp()` when the
 * feed begins anew. */
export function journalView(id, signal, onSelect) {
  const box = table("Journal", [["#", "figure"], "Time", "What", "Step", "Change", "Value"], []);
  const body = /** @type {HTMLElement} */ (box.querySelector("tbody"));
  const more = h("button", { type: "button", class: "quiet", hidden: true }, "Show more");
  const trouble = h("div");
  let seq = 0;
  let isAtEnd = false;
  let isBehind = false; // something happened since the page was asked for that is being read
  /** @type {Promise<void> | null} */
  let loading = null;

  function put(event) {
    if (event.seq === undefined || event.seq <= seq) return;
    seq = event.seq;
    body.append(rowOf(event, onSelect));
  }

  async function read() {
    try {
      await namesLoaded();
      const page = await get(
        `/v1/executions/${encodeURIComponent(id)}/journal`,
        { after: seq, limit: PAGE },
        { signal },
      );
      page.data.forEach(put);
      isAtEnd = page.next_cursor === null;
      more.hidden = isAtEnd;
      fill(trouble);
    } catch (error) {
      if (!signal.aborted) fill(trouble, failure(error, "the journal"));
    } finally {
      loading = null;
    }
    if (isBehind && isAtEnd) load();
  }

  const load = () => (loading ??= ((isBehind = false), read()));
  more.addEventListener("click", load);

  /** An entry right behind the last is shown; a gap is read up to. */
  function add(event) {
    if (event.seq <= seq) return;
    if (!loading && isAtEnd && event.seq === seq + 1) put(event);
    else catchUp();
  }

  function catchUp() {
    if (loading) isBehind = true;
    else if (isAtEnd) load();
  }

  return { element: h("div", { class: "journal" }, box, trouble, more), load, add, catchUp };
}

function rowOf(event, onSelect) {
  const step =
    event.node_exec_id &&
    h(
      "button",
      { type: "button", class: "plain" },
      event.block_id ? blockName(event.block_id) : event.node_exec_id,
    );
  if (step) step.addEventListener("click", () => onSelect(event.node_exec_id));
  return h(
    "tr",
    {},
    h("td", { class: "figure", "data-label": "#" }, event.seq),
    cell("Time", time(event.at, precise)),
    cell("What", h("code", {}, event.type)),
    cell("Step", step),
    cell("Change", changeOf(event)),
    cell("Value", valuesOf(event)),
  );
}

function changeOf(event) {
  if (event.name !== undefined) return h("code", {}, event.name);
  if (event.type === "graph.shared") return event.is_shared ? "shared" : "no longer shared";
  if (event.type === "graph.deleted") return event.hard ? "erased" : "hidden";
  if (event.status === undefined) return null;
  return [event.was && [pill(event.was), " → "], pill(event.status)];
}

function valuesOf(event) {
  const held = DATA.filter((field) => event[field] !== undefined && event[field] !== null);
  return held.map((field) => lazily(field, event[field], event.truncated));
}

/** Values are only made into elements when they are opened. */
function lazily(name, value, isCut) {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  const details = h(
    "details",
    {},
    h(
      "summary",
      {},
      name === "data" ? "" : `${name} `,
      h("span", { class: "peek" }, text.slice(0, 80)),
      isCut && h("span", { class: "tag" }, "shortened"),
    ),
  );
  details.addEventListener(
    "toggle",
    () => details.children.length === 1 && details.append(valueView(value)),
    { once: true },
  );
  return details;
}
