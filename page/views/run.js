// One run: its status and actions, its steps in time and as a graph, its values, its journal.
// Opens with the feed's snapshot and moves with its events.

import { get } from "../lib/api.js";
import { fill, h, setText, whenChanged } from "../lib/dom.js";
import { numberOf } from "../lib/exact.js";
import { clock, duration, money, number, plural } from "../lib/format.js";
import { every, throttled } from "../lib/lifetime.js";
import { graphName, namesLoaded } from "../lib/names.js";
import { empty, failure, panel, pill, pins, say, setPill, table, time } from "../lib/parts.js";
import { link, replace } from "../lib/route.js";
import { follow } from "../lib/stream.js";
import { showActions } from "../run/actions.js";
import { changesView } from "../run/changes.js";
import { graphView } from "../run/graph.js";
import { journalView } from "../run/journal.js";
import { momentView } from "../run/moment.js";
import { errorOf, isCascaded, RunState } from "../run/state.js";
import { stepView } from "../run/step.js";
import { showStory } from "../run/story.js";
import { timelineView } from "../run/timeline.js";
import { refusalsView } from "./refusals.js";
import { countSteps, elapsed, rowOf, showReasons } from "./runs.js";

const TABS = {
  __proto__: null, // the address may ask for anything
  overview: "Overview",
  story: "Story",
  journal: "Journal",
  refusals: "Refusals",
  children: "Children",
};
const DRAWING = 150; // milliseconds between two drawings
const MOST_COUNTED = 250; // runs that one request counts the steps of

export async function show(root, { id, parameters, signal }) {
  const page = pageOf(id, parameters, signal);
  fill(root, page.element);
  namesLoaded().then(() => page.state && page.draw());
  follow({ graph_exec_id: id }, signal, {
    state: (state, detail) => page.tellLine(state, detail),
    snapshot: (run) => page.take(run),
    event: (event) => page.hear(event),
  });
  every(1_000, signal, () => page.state?.run.status === "RUNNING" && page.draw());
}

function pageOf(id, parameters, signal) {
  const head = headOf(id);
  const tabs = tabsOf(id, parameters);
  const chosen = { step: parameters.get("step") };
  const choose = (step) => {
    chosen.step = step;
    replace(link(["runs", id], { tab: tabs.current === "overview" ? null : tabs.current, step }));
    draw();
  };
  const timeline = timelineView(choose);
  const moment = momentView((time) => seek(time));
  const changes = changesView(choose);
  const graph = graphView(choose);
  const step = stepView(() => choose(null));
  const journal = journalView(id, signal, choose);
  const refusals = refusalsView({ graph_exec_id: id }, signal);
  const story = h("div", {});
  const children = h("div", {});
  const inputs = h("div", {});
  const outputs = h("div", {});
  const overview = h(
    "div",
    {},
    panel("Steps", moment.element, timeline.element, changes.element),
    panel("Graph", null, graph.element),
    h("div", { class: "pair" }, panel("Inputs", null, inputs), panel("Outputs", null, outputs)),
  );
  /** @type {{element: HTMLElement, state: any, past: any, [act: string]: any}} */
  const page = {
    element: h("div", {}, head.element, tabs.element, tabs.place, step.element),
    state: null,
    past: null,
  };
  const showInputs = whenChanged((values) => fill(inputs, pins(values)));
  const showOutputs = whenChanged((values) => fill(outputs, pins(values, { isList: true })));

  function draw() {
    head.update(page.state);
    const state = page.past ?? page.state;
    const steps = state.ordered();
    step.update(state.steps.get(chosen.step) ?? null);
    page.element.classList.toggle("has-drawer", !step.element.hidden);
    if (tabs.current !== "overview") return;
    moment.update(page.state.span());
    timeline.update(state, chosen.step);
    changes.update(page.past, page.state);
    graph.update(steps, chosen.step);
    showInputs(state.run.inputs);
    showOutputs(state.outputs());
  }

  /** Show the run as it was at a time; null: as it moves. */
  async function seek(time) {
    const asked = { as_of: time };
    try {
      const run =
        time && (await get(`/v1/executions/${encodeURIComponent(id)}`, asked, { signal }));
      page.past = run && new RunState(run, undefined, time);
      draw();
    } catch (error) {
      if (!signal.aborted) say(error.message, "bad");
    }
  }

  const drawSoon = throttled(DRAWING, signal, draw);
  const open = {
    overview: () => (fill(tabs.place, overview), page.state && draw()),
    story: () => (fill(tabs.place, story), showStory(story, id, signal)),
    journal: () => (fill(tabs.place, journal.element), journal.load()),
    refusals: () => (fill(tabs.place, refusals.element), refusals.load()),
    children: () => (fill(tabs.place, children), showChildren(children, id, signal)),
  };
  tabs.onOpen(
    (name) => open[name](),
    () => chosen.step,
  );

  page.draw = draw;
  page.take = (run) => {
    if (page.state) page.state.reset(run);
    else page.state = new RunState(run);
    document.title = `${graphName(run.graph_id, run.graph_version)} · execstream`;
    draw();
    // The content that a tab has read before may be older than this state, without an event since.
    journal.catchUp();
    if (tabs.current === "refusals") refusals.load();
    if (tabs.current === "children" || tabs.current === "story") open[tabs.current]();
  };
  page.hear = (event) => {
    if (event.type === "command.refused") return tabs.current === "refusals" && refusals.load();
    journal.add(event);
    if (page.state?.apply(event)) drawSoon();
  };
  page.tellLine = (state, detail) => {
    head.tellLine(state, detail);
    if (!page.state && state === "lost") fill(tabs.place, failure(new Error(detail), "this run"));
  };
  return page;
}

// ---- the head ----------------------------------------------------------------------------

function headOf(id) {
  const title = h("h1", {});
  const status = pill("INCOMPLETE");
  const actions = h("div", { class: "actions" });
  const facts = h("dl", { class: "facts wide" });
  const error = h("pre", { class: "error", hidden: true });
  const line = h("span", { class: "line", role: "status" });
  status.hidden = true;
  const element = h(
    "div",
    { class: "run-head" },
    h("p", { class: "crumbs" }, h("a", { href: "#/runs" }, "Runs"), " / ", h("code", {}, id)),
    h("div", { class: "head" }, title, status, line, actions),
    error,
    facts,
  );
  let parent = null;
  let shown = null;
  parentOf(id).then((found) => {
    parent = found;
    if (shown) update(shown);
  });

  function update(state) {
    shown = state;
    const { run, isDeleted } = state;
    setText(title, graphName(run.graph_id, run.graph_version));
    status.hidden = false;
    setPill(status, run.status);
    showActions(actions, run, isDeleted);
    const wrong = isDeleted ? "This run has been deleted." : errorOf(run);
    error.hidden = wrong === null;
    setText(error, wrong ?? "");
    fill(
      facts,
      factsOf(state, parent).map(([name, value]) =>
        h("div", {}, h("dt", {}, name), h("dd", {}, value)),
      ),
    );
  }

  return {
    element,
    update,
    tellLine(state, detail) {
      line.dataset.state = state;
      line.title = detail ?? "";
      setText(line, { live: "Live", connecting: "Connecting", lost: "Not live" }[state]);
    },
  };
}

/** The run that started this one stands in the first entry of the journal only. */
async function parentOf(id) {
  try {
    const { data } = await get(`/v1/executions/${encodeURIComponent(id)}/journal`, { limit: 1 });
    return data[0]?.parent_graph_exec_id ?? null;
  } catch {
    return null;
  }
}

function factsOf({ run, steps }, parent) {
  const ended = [...steps.values()].filter((step) => step.status === "FAILED");
  const cascaded = ended.filter(isCascaded).length;
  const failed = ended.length - cascaded;
  const score = numberOf(run.stats?.correctness_score);
  return [
    ["Owner", h("a", { href: link("runs", { user_id: run.user_id }) }, run.user_id)],
    [
      "Graph",
      h(
        "a",
        { href: link("runs", { graph_id: run.graph_id }), title: run.graph_id },
        `version ${run.graph_version}`,
      ),
    ],
    ["Created", time(run.created_at, clock)],
    ["Started", time(run.started_at, clock)],
    ["Ended", time(run.ended_at, clock)],
    ["Duration", duration(elapsed(run))],
    [
      "Steps",
      [
        number(steps.size),
        failed > 0 && h("span", { class: "bad" }, `, ${number(failed)} failed`),
        cascaded > 0 && `, ${number(cascaded)} ended with the run`,
      ],
    ],
    ["Cost, reported", money(run.stats?.cost)],
    score !== null && ["Correctness", `${Math.round(score * 100)}%`],
    parent && ["Parent", h("a", { href: link(["runs", parent]) }, "open")],
    ...Object.entries(run.attributes ?? {}).map(([key, value]) => [
      key,
      h("a", { href: link("runs", { attribute: `${key}=${value}` }) }, value || "(empty)"),
    ]),
    run.is_dry_run && ["Kind", "dry run"],
    run.stats?.activity_status && ["Activity", run.stats.activity_status],
  ].filter(Boolean);
}

// ---- tabs --------------------------------------------------------------------------------

function tabsOf(id, parameters) {
  const tabs = { current: parameters.get("tab") in TABS ? parameters.get("tab") : "overview" };
  tabs.place = h("div", { id: "tab", role: "tabpanel" });
  const buttons = Object.entries(TABS).map(([name, title]) =>
    h("button", { type: "button", role: "tab", "aria-controls": "tab", "data-tab": name }, title),
  );
  tabs.element = h(
    "div",
    { class: "tabs", role: "tablist", "aria-label": "Parts of the run" },
    buttons,
  );
  const mark = () =>
    buttons.forEach((button) => {
      const isOn = button.dataset.tab === tabs.current;
      button.setAttribute("aria-selected", String(isOn));
      button.tabIndex = isOn ? 0 : -1;
    });
  tabs.onOpen = (open, step) => {
    for (const button of buttons) {
      button.addEventListener("click", () => {
        tabs.current = button.dataset.tab;
        mark();
        replace(
          link(["runs", id], {
            tab: tabs.current === "overview" ? null : tabs.current,
            step: step(),
          }),
        );
        open(tabs.current);
      });
    }
    tabs.element.addEventListener("keydown", (event) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!by) return;
      const next =
        buttons[
          (buttons.findIndex((button) => button.dataset.tab === tabs.current) +
            by +
            buttons.length) %
            buttons.length
        ];
      next.focus();
      next.click();
    });
    mark();
    open(tabs.current);
  };
  return tabs;
}

async function showChildren(place, id, signal) {
  try {
    const { data } = await get(`/v1/executions/${encodeURIComponent(id)}/children`, {}, { signal });
    if (!data.length) return fill(place, empty("This run has started no others."));
    await namesLoaded();
    const columns = [
      "Status",
      "Graph",
      "Reason",
      "Run",
      "Owner",
      ["Created", "figure"],
      ["Duration", "figure"],
      ["Steps", "figure"],
      ["Cost, reported", "figure"],
    ];
    const rows = new Map(data.map((run) => [run.id, { run, row: rowOf(run) }]));
    fill(
      place,
      h("p", { class: "hint" }, plural(data.length, "run"), " started by this one."),
      table(
        "Children",
        columns,
        [...rows.values()].map(({ row }) => row),
      ),
    );
    const some = new Map([...rows].slice(0, MOST_COUNTED));
    return Promise.all([countSteps(some, signal), showReasons(some, signal)]);
  } catch (error) {
    return signal.aborted || fill(place, failure(error, "the children of a run"));
  }
}
