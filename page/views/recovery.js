// The data for a recovery: topics and lag, dead letters, refusals.

import { get, post } from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import { isPositive, numberOf } from "../lib/exact.js";
import { bytes, number, plural, short } from "../lib/format.js";
import { every } from "../lib/lifetime.js";
import {
  ask,
  cell,
  empty,
  failure,
  figure,
  panel,
  say,
  table,
  time,
  valueView,
} from "../lib/parts.js";
import { link, replace } from "../lib/route.js";
import { redriveAll } from "./bulk.js";
import { showQuarantine } from "./quarantine.js";
import { refusalsView } from "./refusals.js";

const POLL = 5_000; // milliseconds
const PAGE = 50;
// As in streams/outcomes.py (a test compares them).
const DEAD = [
  "too_large",
  "batch_too_large",
  "too_deep",
  "not_json",
  "not_an_object",
  "unsupported_version",
  "unknown_type",
  "invalid_field",
  "key_mismatch",
  "wrong_partition",
  "not_storable",
  "quarantined",
  "run_quarantined",
];
const REFUSED = [
  "illegal_transition",
  "not_a_target",
  "unknown_graph_execution",
  "unknown_node_execution",
  "already_exists",
  "wrong_owner",
  "missing_execution_data",
  "nothing_to_change",
  "not_open_for_input",
  "input_already_there",
  "superseded",
  "deleted",
];

export async function show(root, { parameters, signal }) {
  const reasons = { dead: parameters.get("dead"), refused: parameters.get("refused") };
  const keep = (name, value) => {
    reasons[name] = value || null;
    replace(link("recovery", reasons));
  };
  const topics = h("div", {});
  const held = h("div", {});
  const dead = h("div", {});
  const refused = h("div", {});
  const showDead = (reason) => listDead(dead, reason, signal);
  const showRefused = (reason) => {
    const view = refusalsView({ reason }, signal);
    fill(refused, view.element);
    return view.load();
  };
  fill(
    root,
    h("div", { class: "head" }, h("h1", {}, "Recovery")),
    panel("Topics", null, topics),
    panel("Quarantine", null, held),
    panel(
      "Dead letters",
      reasonChoice(
        "dead",
        DEAD,
        reasons.dead,
        (reason) => (keep("dead", reason), showDead(reason)),
      ),
      dead,
    ),
    panel(
      "Refusals",
      reasonChoice(
        "refused",
        REFUSED,
        reasons.refused,
        (reason) => (keep("refused", reason), showRefused(reason)),
      ),
      refused,
    ),
  );
  showDead(reasons.dead);
  showRefused(reasons.refused);
  await every(POLL, signal, () =>
    Promise.all([showTopics(topics, signal), showQuarantine(held, signal)]),
  );
}

function reasonChoice(name, reasons, chosen, onChange) {
  const select = h(
    "select",
    { id: `reason-${name}`, "aria-label": "Reason" },
    h("option", { value: "" }, "every reason"),
    reasons.map((reason) => h("option", { value: reason, selected: reason === chosen }, reason)),
  );
  select.addEventListener("change", () => onChange(select.value));
  return select;
}

// ---- topics ------------------------------------------------------------------------------

async function showTopics(place, signal) {
  try {
    const { data } = await get("/v1/topics", {}, { signal });
    fill(place, topicTable(data));
  } catch (error) {
    if (signal.aborted) return;
    fill(place, failure(error, "topics"));
  }
}

function topicTable(topics) {
  const sum = (partitions, count) =>
    partitions.reduce((total, one) => total + numberOf(count(one)), 0);
  return table(
    "Topics",
    [
      "Topic",
      ["Partitions", "figure"],
      ["Records kept", "figure"],
      "Lag of readers",
      "Per partition",
      "Meaning",
    ],
    topics.map(({ topic, meaning, partitions }) => {
      return h(
        "tr",
        {},
        cell("Topic", h("code", {}, topic)),
        figure("Partitions", partitions.length),
        figure(
          "Records kept",
          short(
            sum(partitions, (one) => one.end_offset) - sum(partitions, (one) => one.begin_offset),
          ),
        ),
        cell("Lag of readers", lags(partitions)),
        cell("Per partition", h("span", { class: "parts" }, partitions.map(partitionBox))),
        cell("Meaning", h("span", { class: "hint" }, meaning)),
      );
    }),
  );
}

/** "apply 0 · tally 12": how many records each reader has before it. */
function lags(partitions) {
  const names = [...new Set(partitions.flatMap(({ consumers }) => Object.keys(consumers)))].sort();
  if (!names.length) return h("span", { class: "hint" }, "no reader");
  return names.map((name) => {
    const lag = partitions.reduce((sum, one) => sum + (numberOf(one.consumers[name]?.lag) ?? 0), 0);
    return h("span", { class: `lag ${lag > 0 ? "bad" : "good"}` }, `${name} ${number(lag)}`);
  });
}

function partitionBox({ partition, end_offset: end, lag }) {
  const text =
    lag === null
      ? `partition ${partition}: ends at ${number(end)}`
      : `partition ${partition}: ${plural(lag, "record")} behind of ${number(end)}`;
  return h("span", { class: isPositive(lag) ? "part behind" : "part", title: text }, partition);
}

/** How far each consumer has come, over all partitions of a topic. */
export async function showProgress(place, signal) {
  try {
    const { data } = await get("/v1/progress", {}, { signal });
    fill(place, data.length ? progressTable(data) : empty("Nothing has been read yet."));
  } catch (error) {
    if (!signal.aborted) fill(place, failure(error, "the progress of consumers"));
  }
}

const OUTCOMES = ["applied", "duplicate", "refused", "dead", "quarantined"];

function progressTable(data) {
  const rows = Map.groupBy(data, ({ consumer, topic }) => `${consumer} ${topic}`);
  return table(
    "Progress",
    [
      "Consumer",
      "Topic",
      ["Partitions", "figure"],
      ["Read", "figure"],
      ["Lag", "figure"],
      ...OUTCOMES.map((name) => [title(name), "figure"]),
    ],
    [...rows.values()].map(progressRow),
  );
}

function progressRow(partitions) {
  const [{ consumer, topic }] = partitions;
  const sum = (name) => partitions.reduce((total, one) => total + numberOf(one[name]), 0);
  const isKnown = partitions.every(({ lag }) => lag !== null);
  const lag = sum("lag");
  return h(
    "tr",
    {},
    cell("Consumer", consumer),
    cell("Topic", h("code", {}, topic)),
    figure("Partitions", partitions.length),
    figure("Read", number(sum("next_offset"))),
    figure(
      "Lag",
      isKnown
        ? h("span", { class: lag > 0 ? "bad" : "good" }, number(lag))
        : h("span", { class: "hint", title: "Kafka does not answer" }, "unknown"),
    ),
    // Only commands have outcomes.
    OUTCOMES.map((name) => figure(title(name), consumer === "apply" ? number(sum(name)) : "–")),
  );
}

const title = (word) => word[0].toUpperCase() + word.slice(1);

// ---- dead letters ------------------------------------------------------------------------

async function listDead(place, reason, signal) {
  const rows = [];
  let cursor = null;
  const load = async () => {
    try {
      const page = await get("/v1/dead-letters", { reason, limit: PAGE, cursor }, { signal });
      rows.push(...page.data.map((letter) => deadRow(letter, signal)));
      cursor = page.next_cursor;
      if (!rows.length) return fill(place, empty("No dead letters."));
      const more =
        cursor && h("button", { type: "button", class: "quiet", on: { click: load } }, "Show more");
      return fill(
        place,
        table(
          "Dead letters",
          ["Received", "Reason", "Place", "Key", ["Size", "figure"], "Record", "Redriven"],
          rows,
        ),
        h(
          "div",
          { class: "actions" },
          more,
          redriveAll(reason, signal, () => listDead(place, reason, signal)),
        ),
      );
    } catch (error) {
      return signal.aborted || fill(place, failure(error, "dead letters"));
    }
  };
  await load();
}

function deadRow(letter, signal) {
  const record = h(
    "details",
    {},
    h("summary", {}, letter.detail?.message ?? letter.detail?.path ?? "show"),
  );
  record.addEventListener("toggle", () => record.open && openLetter(record, letter.id, signal), {
    once: true,
  });
  return h(
    "tr",
    {},
    cell("Received", time(letter.received_at)),
    cell("Reason", h("span", { class: "reason" }, letter.reason)),
    cell("Place", h("code", { title: letter.topic }, `${letter.partition}/${letter.offset}`)),
    cell("Key", h("code", { class: "cut", title: letter.key ?? "" }, letter.key ?? "none")),
    figure("Size", bytes(letter.bytes)),
    cell("Record", record),
    cell("Redriven", letter.redriven_at ? time(letter.redriven_at) : redriveButton(letter)),
  );
}

async function openLetter(details, id, signal) {
  try {
    const letter = await get(`/v1/dead-letters/${id}`, {}, { signal });
    details.append(
      h("h3", {}, "Why"),
      valueView(letter.detail),
      h("h3", {}, "Value"),
      letter.value === null ? h("p", { class: "none" }, "null") : valueView(letter.value),
    );
  } catch (error) {
    if (!signal.aborted) details.append(failure(error, "single dead letters"));
  }
}

function redriveButton(letter) {
  const button = h("button", { type: "button" }, "Redrive");
  button.addEventListener("click", async () => {
    if (
      !(await ask(
        "Redrive this record?",
        "It is put on its topic once more, as it is. If it fails again, it becomes a new dead letter.",
        "Redrive",
      ))
    )
      return;
    try {
      await post(`/v1/dead-letters/${letter.id}/redrive`, {});
      button.replaceWith("just now");
    } catch (error) {
      say(error.isMissing ? "This server does not redrive." : error.message, "bad");
    }
  });
  return button;
}
