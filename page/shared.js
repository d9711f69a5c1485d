// The page behind a share link: the outputs of one run, and nothing that acts on it. The token is
// behind the `#`, which browsers do not send; the read below has it in its path.

import { get } from "./lib/api.js";
import { byId, fill, h } from "./lib/dom.js";
import { clock, ownZone } from "./lib/format.js";
import { failure, panel, pill, pins, time } from "./lib/parts.js";

const main = byId("main");

async function show() {
  try {
    const run = await get(`/v1/shared/${encodeURIComponent(location.hash.slice(1))}`);
    document.title = `${run.graph_name} · execstream`;
    fill(
      main,
      h("div", { class: "head" }, h("h1", {}, run.graph_name), pill(run.status)),
      run.graph_description && h("p", {}, run.graph_description),
      h(
        "p",
        { class: "hint" },
        "Created ",
        time(run.created_at, clock),
        `, times in ${ownZone()}.`,
      ),
      panel("Outputs", null, h("div", {}, pins(run.outputs, { isList: true }))),
    );
  } catch (error) {
    const gone = h(
      "p",
      { class: "notice" },
      "This link shows nothing: its run is no longer shared.",
    );
    fill(
      main,
      h("h1", {}, "A shared run"),
      error.status === 404 ? gone : failure(error, "shared runs"),
    );
  }
  main.removeAttribute("aria-busy");
}

addEventListener("hashchange", show);
show();
