// Commands that were understood and refused, newest first; of one run, or of all.

import { get } from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import { shortId } from "../lib/format.js";
import { cell, empty, failure, table, time, valueView } from "../lib/parts.js";
import { link } from "../lib/route.js";

const PAGE = 50;
const IN_A_LINE = 160; // characters

/** An element and `load()`, which begins anew. */
export function refusalsView(filters, signal) {
  const element = h("div", {});
  /** @type {string | null} */
  let cursor = null;
  /** @type {HTMLElement[]} */
  let rows = [];
  let asked = 0; // only the answer to the newest request is shown

  async function load(isNext = false) {
    const mine = ++asked;
    try {
      const from = { limit: PAGE, cursor: isNext ? cursor : null };
      const page = await get("/v1/refusals", { ...filters, ...from }, { signal });
      if (mine !== asked) return;
      const more = page.data.map((refusal) => rowOf(refusal, filters.graph_exec_id));
      rows = isNext ? [...rows, ...more] : more;
      cursor = page.next_cursor;
      show();
    } catch (error) {
      if (!signal.aborted && mine === asked) fill(element, failure(error, "refusals"));
    }
  }

  function show() {
    if (!rows.length) return fill(element, empty("Nothing was refused."));
    const more = h(
      "button",
      { type: "button", class: "quiet", hidden: cursor === null },
      "Show more",
    );
    more.addEventListener("click", () => load(true));
    return fill(
      element,
      table("Refusals", ["Time", "Command", "Reason", "Run", "Owner", "Detail"], rows),
      more,
    );
  }

  return { element, load };
}

function rowOf(refusal, ofRun) {
  const run = refusal.graph_exec_id;
  return h(
    "tr",
    {},
    cell("Time", time(refusal.at)),
    cell("Command", h("code", { title: refusal.command_id }, refusal.command_type)),
    cell("Reason", h("span", { class: "reason" }, refusal.reason)),
    cell(
      "Run",
      run &&
        (run === ofRun
          ? "this run"
          : h("a", { href: link(["runs", run]), title: run }, h("code", {}, shortId(run)))),
    ),
    cell("Owner", refusal.user_id),
    cell("Detail", detailOf(refusal.detail ?? {})),
  );
}

/** Short ones in a line: "found FAILED · wanted RUNNING"; long ones as they came. */
function detailOf(detail) {
  const parts = Object.entries(detail).map(
    ([name, value]) => `${name.replaceAll("_", " ")} ${plain(value)}`,
  );
  const text = parts.join(" · ");
  return text.length > IN_A_LINE ? valueView(detail) : text;
}

function plain(value) {
  if (Array.isArray(value)) return value.map(plain).join(", ") || "none";
  return typeof value === "object" ? JSON.stringify(value) : value;
}
