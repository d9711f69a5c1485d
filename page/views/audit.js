// The acts of operators and tokens, newest first; by author, kind or subject, and as a file.

import { get } from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import { cell, empty, failure, say, table, time } from "../lib/parts.js";
import { go, link } from "../lib/route.js";

const PAGE = 50;
const AT_ONCE = 100; // acts in a request of an export
const FILTERS = [
  ["actor", "Author"],
  ["act", "Act"],
  ["subject", "Subject"],
];

export async function show(root, { parameters, signal }) {
  const filters = Object.fromEntries(FILTERS.map(([name]) => [name, parameters.get(name)]));
  const list = h("div", {});
  const save = h("button", { type: "button", class: "quiet" }, "Export");
  save.addEventListener("click", () => exportAll(filters, signal, save));
  fill(root, h("div", { class: "head" }, h("h1", {}, "Audit"), save), form(filters), list);
  /** @type {string | null} */
  let cursor = null;
  const rows = [];

  async function load() {
    try {
      const page = await get("/v1/audit", { ...filters, limit: PAGE, cursor }, { signal });
      rows.push(...page.data.map(rowOf));
      cursor = page.next_cursor;
      showRows();
    } catch (error) {
      if (!signal.aborted) fill(list, failure(error, "the audit"));
    }
  }

  function showRows() {
    if (!rows.length) return fill(list, empty("Nobody has done that."));
    const isLast = cursor === null;
    const more = h("button", { type: "button", class: "quiet", hidden: isLast }, "Show more");
    more.addEventListener("click", load);
    const columns = ["Time", "Author", "User", "From", "Act", "Subject", "Outcome"];
    return fill(list, table("Audit", columns, rows), more);
  }

  await load();
}

function form(filters) {
  const made = h(
    "form",
    { class: "filters" },
    FILTERS.map(([name, title]) =>
      h("label", {}, title, h("input", { name, value: filters[name] ?? "" })),
    ),
    h("button", { class: "quiet" }, "Filter"),
  );
  made.addEventListener("submit", (event) => {
    event.preventDefault();
    const chosen = [...new FormData(made)].filter(([, value]) => value !== "");
    go(link(["audit"], Object.fromEntries(chosen)));
  });
  return made;
}

function rowOf({ at, actor, user_id: user, origin, act, subject, outcome }) {
  return h(
    "tr",
    {},
    cell("Time", time(at)),
    cell("Author", actor),
    cell("User", user),
    cell("From", origin),
    cell("Act", h("code", {}, act)),
    cell("Subject", subject),
    cell("Outcome", outcome),
  );
}

/** Save all acts of the filters, a line of JSON for each. */
async function exportAll(filters, signal, button) {
  button.disabled = true;
  try {
    const lines = [];
    let cursor = null;
    do {
      const page = await get("/v1/audit", { ...filters, limit: AT_ONCE, cursor }, { signal });
      lines.push(...page.data.map((act) => `${JSON.stringify(act)}\n`));
      cursor = page.next_cursor;
    } while (cursor !== null);
    const href = URL.createObjectURL(new Blob(lines, { type: "application/x-ndjson" }));
    h("a", { href, download: "audit.jsonl" }).click();
    URL.revokeObjectURL(href);
    say(`${lines.length} acts exported`, "good");
  } catch (error) {
    if (!signal.aborted) say(error.message, "bad");
  } finally {
    button.disabled = false;
  }
}
