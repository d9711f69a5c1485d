// Whether everything runs: servers, workers, completeness, and runs that look wrong.

import { addressOf, get } from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import { isPositive } from "../lib/exact.js";
import { clock, duration, instant, number, plural } from "../lib/format.js";
import { every } from "../lib/lifetime.js";
import { cell, failure, figure, panel, table, time } from "../lib/parts.js";
import { link } from "../lib/route.js";
import { showProgress } from "./recovery.js";

const POLL = 5_000; // milliseconds
const ENDED = ["COMPLETED", "FAILED", "TERMINATED"];

export async function show(root, { signal }) {
  /** @type {[{body: HTMLElement, element: HTMLElement}, (...args: any[]) => unknown, string][]} */
  const parts = [
    [panelOf("Completeness"), showCompleteness, "how complete its data are"],
    [panelOf("Servers"), showServers, "whether its servers are up"],
    [panelOf("Runs alive"), showAlive, "diagnostics"],
    [panelOf("Runs that look wrong"), showWrong, "diagnostics"],
    [panelOf("Runs ended"), showEnded, "diagnostics"],
    [panelOf("Workers"), showWorkers, "which workers are alive"],
    [panelOf("Progress of consumers"), showProgress, "the progress of consumers"],
  ];
  const [complete, servers, alive, wrong, ended, workers, progress] = parts.map(
    ([part]) => part.element,
  );
  fill(
    root,
    h("div", { class: "head" }, h("h1", {}, "Health")),
    h("div", { class: "pair" }, complete, servers),
    h("div", { class: "triple" }, alive, wrong, ended),
    workers,
    progress,
  );
  await every(POLL, signal, async () => {
    const diagnostics = get("/v1/diagnostics", {}, { signal });
    diagnostics.catch(() => null); // reported by each part that needs it
    const workers = get("/v1/workers", {}, { signal });
    workers.catch(() => null);
    await Promise.all(
      parts.map(async ([part, showPart, what]) => {
        try {
          await showPart(part.body, signal, diagnostics, workers);
        } catch (error) {
          if (!signal.aborted) fill(part.body, failure(error, what));
        }
      }),
    );
  });
}

function panelOf(title) {
  const body = h("div", {});
  return { body, element: panel(title, null, body) };
}

const facts = (pairs) =>
  h(
    "dl",
    { class: "facts big" },
    pairs.map(([name, value, kind]) =>
      h("div", { class: kind }, h("dt", {}, name), h("dd", {}, value)),
    ),
  );

async function showCompleteness(place, signal) {
  const {
    complete_to: to,
    gaps,
    behind,
    as_of: now,
  } = await get("/v1/completeness", {}, { signal });
  fill(
    place,
    h(
      "p",
      { class: `verdict ${gaps || !to ? "bad" : "good"}` },
      to ? `Complete to ${clock(to)} · ${plural(gaps, "gap")}` : "Nothing applied yet",
    ),
    h(
      "p",
      { class: "hint" },
      isPositive(behind)
        ? `${plural(behind, "command")} taken and not yet applied. `
        : "Every command that was taken has its outcome. ",
      "As of ",
      time(now),
      ".",
    ),
    await hazards(signal),
  );
}

async function hazards(signal) {
  const { data } = await get("/v1/hazards", {}, { signal });
  return data.map(({ found, remedy }) => h("p", { class: "verdict bad" }, `${found}. ${remedy}`));
}

async function showServers(place, signal, _, workers) {
  const answer = await fetch(addressOf("/readyz"), { signal });
  const { status, ...servers } = await answer.json();
  // Only such an answer means that Kafka is unavailable: another error may be of this request alone.
  const kafka = await workers.then(
    () => true,
    (error) => (error.status === 503 ? false : null),
  );
  if (kafka !== null) servers.kafka = kafka;
  fill(
    place,
    facts([
      ["Dashboard", status, status === "ready" ? "good" : "bad"],
      ...Object.entries(servers).map(([name, isUp]) => [
        name[0].toUpperCase() + name.slice(1),
        isUp ? "up" : "away",
        isUp ? "good" : "bad",
      ]),
    ]),
  );
}

function since(at, now, run) {
  if (!at) return "none";
  return h("a", { href: link(["runs", run]) }, `${duration(instant(now) - instant(at))} ago`);
}

async function showAlive(place, _, diagnostics) {
  const of = await diagnostics;
  fill(
    place,
    facts([
      ["Running", runs(of.running, { status: "RUNNING" })],
      ["Queued", runs(of.queued, { status: "QUEUED" })],
      ["In review", runs(of.in_review, { status: "REVIEW" })],
      ["Incomplete", runs(of.incomplete, { status: "INCOMPLETE" })],
      ["Oldest running", since(of.oldest_running, of.as_of, of.oldest_running_id)],
      ["Oldest queued", since(of.oldest_queued, of.as_of, of.oldest_queued_id)],
    ]),
  );
}

async function showWrong(place, _, diagnostics) {
  const of = await diagnostics;
  const wrong = (name, value, filters) => [
    name,
    filters ? runs(value, filters) : number(value),
    isPositive(value) ? "bad" : "",
  ];
  fill(
    place,
    facts([
      wrong("Running, silent for 1 h", of.running_silent_1h, { status: "RUNNING", silent: "1h" }),
      wrong("Running, silent for 24 h", of.running_silent_24h, {
        status: "RUNNING",
        silent: "24h",
      }),
      wrong("Queued, silent for 5 min", of.queued_silent_5m, { status: "QUEUED", silent: "5m" }),
      wrong("Queued, silent for 1 h", of.queued_silent_1h, { status: "QUEUED", silent: "1h" }),
      wrong("Running without a start", of.running_without_start),
      wrong("Alive with an end", of.live_with_end),
    ]),
  );
}

async function showEnded(place, _, diagnostics) {
  const of = await diagnostics;
  fill(
    place,
    facts([
      ["Completed, 1 h", runs(of.completed_1h, { status: "COMPLETED", ended: "1h" })],
      ["Completed, 24 h", runs(of.completed_24h, { status: "COMPLETED", ended: "24h" })],
      ["Failed, 1 h", runs(of.failed_1h, { status: "FAILED", ended: "1h" })],
      ["Failed, 24 h", runs(of.failed_24h, { status: "FAILED", ended: "24h" })],
      ["Terminated, 24 h", runs(of.terminated_24h, { status: "TERMINATED", ended: "24h" })],
      ["Ended per hour", runs(of.ended_per_hour, { status: ENDED, ended: "24h" })],
    ]),
  );
}

const runs = (count, filters) => h("a", { href: link("runs", filters) }, number(count));

async function showWorkers(place, _signal, _, workers) {
  const { data } = await workers;
  const rows = data.flatMap(({ group, state, members }) =>
    members.length
      ? members.map((member) => workerRow(group, state, member))
      : [absentRow(group, state)],
  );
  return fill(
    place,
    table("Workers", ["State", "Group", "Host", ["Partitions", "figure"], "Which"], rows),
  );
}

function workerRow(group, state, { client_id: client, host, partitions }) {
  const owned = Object.entries(partitions);
  return h(
    "tr",
    {},
    cell(
      "State",
      h(
        "span",
        { class: state === "Stable" ? "good" : "bad" },
        state === "Stable" ? "alive" : state,
      ),
    ),
    cell("Group", h("code", { title: client }, group)),
    cell("Host", host),
    figure(
      "Partitions",
      owned.reduce((sum, [, numbers]) => sum + numbers.length, 0),
    ),
    cell(
      "Which",
      owned.map(([topic, numbers]) => h("div", {}, h("code", {}, topic), ` ${numbers.join(" ")}`)),
    ),
  );
}

const absentRow = (group, state) =>
  h(
    "tr",
    {},
    cell("State", h("span", { class: "bad" }, "no worker")),
    cell("Group", h("code", {}, group)),
    cell("Host", "–"),
    figure("Partitions", 0),
    cell("Which", state === "Empty" || state === "Dead" ? "nothing is read" : state),
  );
