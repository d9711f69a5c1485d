// Records that fail each time they are applied, and the records that wait behind them.

import { get, post } from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import { number } from "../lib/format.js";
import { ask, cell, empty, failure, figure, say, table, time } from "../lib/parts.js";

const MOST = 100;

export async function showQuarantine(place, signal) {
  try {
    const { data } = await get("/v1/quarantine", { limit: MOST }, { signal });
    fill(place, data.length ? quarantineTable(data) : empty("Nothing is in quarantine."));
  } catch (error) {
    if (!signal.aborted) fill(place, failure(error, "the quarantine"));
  }
}

function quarantineTable(data) {
  return table(
    "Quarantine",
    ["Since", "Run or user", "Place", "Fault", ["Waiting", "figure"], "Release"],
    data.map(heldRow),
  );
}

function heldRow(held) {
  const error = held.detail?.error ?? "waits to be released";
  return h(
    "tr",
    {},
    cell("Since", time(held.set_aside_at)),
    cell("Run or user", h("code", { class: "cut", title: held.key ?? "" }, held.key ?? "none")),
    cell("Place", h("code", {}, `${held.partition}/${held.offset}`)),
    cell("Fault", error),
    figure("Waiting", number(held.waiting)),
    cell("Release", [
      releaseButton(held, "retry", "All records of this run or user are applied, in order."),
      releaseButton(
        held,
        "skip",
        "The first record becomes a dead letter; those behind it are applied.",
      ),
    ]),
  );
}

function releaseButton(held, action, explanation) {
  const name = action === "retry" ? "Retry" : "Skip";
  const button = h("button", { type: "button" }, name);
  button.addEventListener("click", async () => {
    if (!(await ask(`${name} this record?`, explanation, name))) return;
    try {
      const path = `/v1/quarantine/${held.partition}/${held.offset}/release`;
      const { copies } = await post(path, { action });
      say(`${number(copies)} released.`, "good");
    } catch (error) {
      say(error.isMissing ? "It is not there any more." : error.message, "bad");
    }
  });
  return button;
}
