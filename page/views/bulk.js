// Actions on many runs, and many dead letters put back: the number first, then page by page, each
// with its outcome. Every run gets an ordinary command, which the rules may refuse.

import { get, post, query } from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import { numberOf } from "../lib/exact.js";
import { number, plural, shortId } from "../lib/format.js";
import { ask, failure, say } from "../lib/parts.js";
import { link } from "../lib/route.js";

const ACTIONS = {
  terminate: ["Terminate", "Their running steps become failed. They can be resumed.", "danger"],
  resume: ["Resume", "They become queued; the producers that run them go on from there."],
  delete: ["Delete", "They are hidden from every list. Totals keep counting them.", "danger"],
};
const SHOWN = 20; // outcomes that are listed one by one

/** A menu of actions on the runs that `asked`, a query of the API, describes. */
export function actionsOnRuns(asked, signal, onDone) {
  const menu = h(
    "details",
    { class: "rare bulk" },
    h("summary", {}, "Act on these runs"),
    h(
      "div",
      { class: "actions" },
      Object.entries(ACTIONS).map(([action, [label, , kind]]) =>
        h("button", { type: "button", class: kind, on: { click: () => start(action) } }, label),
      ),
    ),
  );
  const start = async (action) => {
    const [label, effect, kind] = ACTIONS[action];
    try {
      const { runs } = await get("/v1/executions/actions", { ...asked(), action }, { signal });
      const count = numberOf(runs);
      if (!count) return say(`No run of this list can be ${past(action)}.`);
      const question = `${label} ${plural(count, "run")}?`;
      if (!(await ask(question, effect, `${label} ${number(count)}`, { kind }))) return;
      const path = `/v1/executions/actions${query(asked())}`;
      await sendAll(`${label}: outcomes`, path, { action }, signal, (one) => [
        link(["runs", one.graph_exec_id]),
        shortId(one.graph_exec_id),
      ]);
      onDone();
    } catch (error) {
      if (!signal.aborted) say(error.message, "bad");
    }
  };
  return menu;
}

const past = (action) =>
  ({ terminate: "terminated", resume: "resumed", delete: "deleted" })[action];

/** A button that puts all letters of a reason back that were not redriven before. */
export function redriveAll(reason, signal, onDone) {
  const button = h("button", { type: "button", class: "quiet" }, "Redrive all of these");
  button.addEventListener("click", async () => {
    try {
      const asked = { reason, redriven: false };
      const count = numberOf((await get("/v1/dead-letters/count", asked, { signal })).letters);
      if (!count) return say("All of these were redriven before.");
      const effect =
        "Each is put on its topic once more, as it is. One that fails again becomes a new dead letter.";
      const question = `Redrive ${plural(count, "record")}?`;
      if (!(await ask(question, effect, `Redrive ${number(count)}`))) return;
      const path = `/v1/dead-letters/redrive${query({ reason })}`;
      await sendAll("Redriven: outcomes", path, {}, signal, (one) => [
        null,
        `${one.partition}/${one.offset}`,
      ]);
      onDone();
    } catch (error) {
      if (!signal.aborted) say(error.message, "bad");
    }
  });
  return button;
}

/** Request page after page until nothing is left, or the reader stops it; resolves when closed. */
async function sendAll(title, path, body, signal, nameOf) {
  const counts = h("ul", { class: "outcomes", role: "status" }, h("li", {}, "Sending…"));
  const others = h("div", { class: "others" });
  const close = h("button", { class: "quiet" }, "Stop");
  const dialog = h(
    "dialog",
    { "aria-label": title },
    h(
      "form",
      { method: "dialog" },
      h("h2", {}, title),
      counts,
      others,
      h("div", { class: "buttons" }, close),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
  const closed = new Promise((resolve) =>
    dialog.addEventListener("close", resolve, { once: true }),
  );
  const told = new Map();
  const listed = [];
  let cursor = null;
  try {
    do {
      const page = await post(
        path + (cursor ? `${path.includes("?") ? "&" : "?"}${query({ cursor }).slice(1)}` : ""),
        body,
      );
      for (const one of page.data) {
        told.set(one.outcome, (told.get(one.outcome) ?? 0) + 1);
        if (one.outcome !== "applied" && listed.length < SHOWN) listed.push(one);
      }
      fill(
        counts,
        [...told].map(([outcome, count]) => h("li", {}, `${number(count)} ${outcome}`)),
      );
      if (!told.size) fill(counts, h("li", {}, "Nothing was left to do."));
      fill(
        others,
        listed.map((one) => outcomeOf(one, nameOf)),
      );
      cursor = page.next_cursor;
    } while (cursor && dialog.open && !signal.aborted);
  } catch (error) {
    fill(others, failure(error, "outcomes"));
  }
  fill(close, "Done");
  await closed;
  dialog.remove();
}

function outcomeOf(one, nameOf) {
  const [href, name] = nameOf(one);
  return h(
    "p",
    {},
    href ? h("a", { href }, name) : h("code", {}, name),
    ` ${one.outcome}${one.reason ? `: ${one.reason}` : ""}`,
  );
}
