// Actions on a run, by the transition table. Each action is a command like any other
// producer's: the rules decide, and the outcome is shown.

import { Problem, send } from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import { ask, say } from "../lib/parts.js";
import { isAllowed, LABELS } from "../lib/statuses.js";

const REASONS = {
  __proto__: null,
  illegal_transition: "the run has moved on meanwhile",
  deleted: "the run has been deleted",
  wrong_owner: "the run belongs to someone else",
  unknown_graph_execution: "there is no such run",
};

/** Buttons into `place`, for the run as it now is. */
export function showActions(place, run, isDeleted) {
  const actions = isDeleted ? [] : actionsOf(run);
  const key = JSON.stringify([run.status, run.is_shared, isDeleted]);
  if (place.dataset.key === key) return;
  place.dataset.key = key;
  fill(
    place,
    actions.map(({ label, kind, act }) => {
      const button = h("button", { type: "button", class: kind }, label);
      button.addEventListener("click", async () => {
        button.disabled = true;
        await act();
        button.disabled = false;
      });
      return button;
    }),
  );
}

function actionsOf(run) {
  const order = (command) => ({ user_id: run.user_id, graph_exec_id: run.id, ...command });
  const move = (status) => order({ type: "graph.update", status });
  const actions = [];
  if (isAllowed(run.status, "QUEUED")) {
    const label = run.status === "INCOMPLETE" ? "Queue" : "Resume";
    actions.push({
      label,
      act: () =>
        confirmed(
          `${label} this run?`,
          "It becomes queued; the producer that runs it goes on from there.",
          label,
          move("QUEUED"),
        ),
    });
  }
  if (isAllowed(run.status, "TERMINATED")) {
    actions.push({
      label: "Terminate",
      kind: "danger",
      act: () =>
        confirmed(
          "Terminate this run?",
          "Its running steps become failed. It can be resumed.",
          "Terminate",
          move("TERMINATED"),
          "danger",
        ),
    });
  }
  actions.push(
    run.is_shared
      ? {
          label: "Stop sharing",
          act: () =>
            confirmed(
              "Stop sharing?",
              "The link stops working at once.",
              "Stop sharing",
              order({ type: "graph.share", is_shared: false }),
            ),
        }
      : { label: "Share", act: () => share(order) },
  );
  actions.push({
    label: "Delete",
    kind: "danger",
    act: () =>
      confirmed(
        "Delete this run?",
        "It is hidden from every list. Totals keep counting it.",
        "Delete",
        order({ type: "graph.delete" }),
        "danger",
      ),
  });
  return actions;
}

async function confirmed(question, detail, yes, command, kind) {
  if (await ask(question, detail, yes, { kind })) return told(command);
  return false;
}

/** Send it and show the outcome; true when it was applied. */
async function told(command) {
  try {
    const { outcome, reason, detail } = await send(command);
    if (outcome === "applied" || outcome === "duplicate") return true;
    if (outcome === "pending") say("Sent; no outcome yet.");
    else say(`Refused: ${because(reason, detail)}.`, "bad");
  } catch (error) {
    say(error instanceof Problem ? error.message : String(error), "bad");
  }
  return false;
}

function because(reason, detail) {
  const found =
    detail?.found && LABELS[detail.found] ? ` (it is ${LABELS[detail.found].toLowerCase()})` : "";
  return (REASONS[reason] ?? reason) + found;
}

/** The token is made here and shown once; only its hash travels. */
async function share(order) {
  if (!crypto.subtle)
    return say("Sharing needs https, or this page opened on the machine itself.", "bad");
  if (
    !(await ask(
      "Share this run?",
      "Whoever has the link sees its outputs and nothing else, on a page without actions.",
      "Share",
    ))
  )
    return;
  const token = hex(crypto.getRandomValues(new Uint8Array(24)));
  const hash = hex(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(token)));
  if (await told(order({ type: "graph.share", is_shared: true, share_token_hash: hash })))
    showLink(token);
}

function showLink(token) {
  const link = new URL(`shared.html#${token}`, document.baseURI).href;
  const field = h("input", { readonly: true, value: link, "aria-label": "Link" });
  const dialog = h(
    "dialog",
    { "aria-label": "The link" },
    h(
      "form",
      { method: "dialog" },
      h("h2", {}, "The link"),
      h("p", {}, "It is shown this once: only its hash is stored."),
      field,
      h("div", { class: "buttons" }, h("button", {}, "Done")),
    ),
  );
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  field.select();
}

const hex = (buffer) =>
  [...new Uint8Array(buffer)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
