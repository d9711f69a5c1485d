// Alerts: open ones first, then closed ones, and the log of the webhook. Alerts are acknowledged and
// silenced here.

import { get, post } from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import { shortId } from "../lib/format.js";
import { every } from "../lib/lifetime.js";
import { blockName, namesLoaded } from "../lib/names.js";
import { cell, empty, failure, panel, say, table, time } from "../lib/parts.js";
import { link } from "../lib/route.js";

const POLL = 2_000; // milliseconds
const SILENCES = { "1 hour": 60, "1 day": 1_440 }; // minutes

export async function show(root, { signal }) {
  const open = h("div", {});
  const over = h("div", {});
  const sent = h("div", {});
  fill(
    root,
    h("div", { class: "head" }, h("h1", {}, "Alerts")),
    panel("Open", null, open),
    panel("Over", null, over),
    panel("Webhook", "Alerts and ends of runs, the newest first", sent),
  );
  await namesLoaded();
  const whole = new AbortController();
  signal.addEventListener("abort", () => whole.abort());
  const load = async () => {
    try {
      const [opened, closed, deliveries] = await Promise.all([
        get("/v1/alerts", { open: true, limit: 50 }, { signal }),
        get("/v1/alerts", { open: false, limit: 50 }, { signal }),
        get("/v1/alerts/deliveries", { limit: 50 }, { signal }),
      ]);
      showList(open, opened.data, "No alert is open.", (alert) => buttons(alert, load));
      showList(over, closed.data, "None has been raised before.");
      showDeliveries(sent, deliveries.data);
    } catch (error) {
      if (signal.aborted) return;
      if (error.isMissing) whole.abort();
      fill(open, failure(error, "alerts"));
    }
  };
  await every(POLL, whole.signal, load);
}

/** @param {(alert: any) => unknown} side */
function showList(place, alerts, nothing, side = () => null) {
  const key = JSON.stringify(alerts);
  if (place.dataset.key === key) return;
  place.dataset.key = key;
  if (!alerts.length) return fill(place, empty(nothing));
  return fill(
    place,
    table(
      "Alerts",
      ["Severity", "Opened", "What", "Where", "State", ""],
      alerts.map((alert) =>
        h(
          "tr",
          {},
          cell("Severity", h("span", { class: `severity ${alert.severity}` }, alert.severity)),
          cell("Opened", time(alert.opened_at)),
          cell("What", alert.title),
          cell("Where", whereOf(alert)),
          cell("State", stateOf(alert)),
          h("td", { class: "actions" }, side(alert)),
        ),
      ),
    ),
  );
}

/** @param {any[]} deliveries */
function showDeliveries(place, deliveries) {
  const key = JSON.stringify(deliveries);
  if (place.dataset.key === key) return;
  place.dataset.key = key;
  if (!deliveries.length) return fill(place, empty("Nothing is to be sent, and nothing was."));
  return fill(
    place,
    table(
      "Messages to the webhook",
      ["Written", "Message", "What", "Where", "State", "Tries"],
      deliveries.map((one) =>
        h(
          "tr",
          {},
          cell("Written", time(one.at)),
          cell("Message", one.type),
          cell("What", one.about),
          cell("Where", whereOf({ graph_exec_id: one.graph_exec_id, block_id: null })),
          cell("State", deliveryState(one)),
          cell("Tries", String(one.tries)),
        ),
      ),
    ),
  );
}

function deliveryState({ state, delivered_at: delivered, next_try_at: next, last_error: error }) {
  if (state === "delivered") return ["delivered ", time(delivered)];
  if (state === "given_up") return `given up after 24 h: ${error}`;
  if (state === "withdrawn") return "withdrawn: the alert was silenced";
  return error ? [`${error}; next try `, time(next)] : "waiting";
}

/** Links to the block and the run of an alert. */
export function whereOf({ graph_exec_id: run, block_id: block }) {
  return [
    block && h("a", { href: link(["blocks", block]) }, blockName(block)),
    block && run && " · ",
    run && h("a", { href: link(["runs", run]), title: run }, h("code", {}, shortId(run))),
  ];
}

function stateOf(alert) {
  if (alert.closed_at) return ["over since ", time(alert.closed_at)];
  if (alert.silenced_until && Date.parse(alert.silenced_until) > Date.now())
    return ["silent until ", time(alert.silenced_until)];
  if (alert.acknowledged_at)
    return [
      "seen ",
      time(alert.acknowledged_at),
      alert.acknowledged_by && ` by ${alert.acknowledged_by}`,
    ];
  return "new";
}

function buttons(alert, reload) {
  const act = (label, path, body) =>
    h(
      "button",
      {
        type: "button",
        on: { click: () => sendOff(`/v1/alerts/${alert.id}/${path}`, body, reload) },
      },
      label,
    );
  return [
    !alert.acknowledged_at && act("Acknowledge", "acknowledge", { by: "dashboard" }),
    Object.entries(SILENCES).map(([label, minutes]) =>
      act(`Silence ${label}`, "silence", { minutes }),
    ),
  ];
}

async function sendOff(path, body, reload) {
  try {
    await post(path, body);
    dispatchEvent(new Event("alerts-changed"));
    await reload();
  } catch (error) {
    say(error.message, "bad");
  }
}
