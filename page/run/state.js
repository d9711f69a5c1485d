// One run as the page holds it: a snapshot from the server with the events since folded in, by the
// rules of the contract. Each `seq` counts once, whatever comes again.

import { instant } from "../lib/format.js";
import { markLeftOut } from "../lib/left_out.js";
import { blockType } from "../lib/names.js";
import { isEnded } from "../lib/statuses.js";

// The reader's name of each figure and text of a run's stats, and the one it is stored under.
const FIGURES = {
  cost: "cost",
  duration: "walltime",
  duration_cpu_only: "cputime",
  node_exec_time: "nodes_walltime",
  node_exec_time_cpu_only: "nodes_cputime",
  node_exec_count: "node_count",
  node_error_count: "node_error_count",
};
const TEXTS = ["error", "activity_status", "correctness_score"];

export class RunState {
  /** @type {any} */
  run;
  /** @type {Map<string, any>} */
  steps = new Map();
  /** @type {any[] | null} */
  inOrder = null;
  /** @type {[number, number] | null} */
  reached = null;

  /** `kindOf`: the kind of a block, by its id; `asOf`: the time of a state of the past. */
  constructor(snapshot, kindOf = blockType, asOf = null) {
    this.kindOf = kindOf;
    this.asOf = asOf;
    this.reset(snapshot);
  }

  /** @param {any} snapshot a run with its steps, as the server sends it */
  reset(snapshot) {
    markLeftOut(snapshot);
    const { node_executions: steps, outputs, ...run } = snapshot;
    this.seq = 0;
    this.run = run;
    this.firstOutputs = outputs;
    this.isMoved = false;
    this.isDeleted = false;
    this.steps = new Map(steps.map((step) => [step.node_exec_id, taken(step)]));
    this.inOrder = null;
    this.reached = null;
  }

  /** Fold one event in; false when it was known already or changes nothing. */
  apply(event) {
    if (event.seq === undefined || event.seq <= this.seq) return false;
    this.seq = event.seq;
    this.isMoved = true;
    const fold = FOLDS[event.type];
    fold?.(this, event, this.steps.get(event.node_exec_id));
    // A long run is drawn often: only a step that is new, or was queued, changes the order.
    if (event.type === "node.added" || event.queued_time) this.inOrder = null;
    if (this.reached) this.reach(this.steps.get(event.node_exec_id));
    return fold !== undefined;
  }

  /** Steps as they were queued; those that are not stand by when they were added. Not to change. */
  ordered() {
    this.inOrder ??= [...this.steps.values()].sort(
      (a, b) =>
        Number(!a.queue_time) - Number(!b.queue_time) ||
        compared(a.queue_time ?? a.add_time, b.queue_time ?? b.add_time) ||
        compared(a.add_time, b.add_time),
    );
    return this.inOrder;
  }

  /** The outputs of the run: the `value`s that its OUTPUT steps were given, by their `name`. */
  outputs() {
    if (!this.isMoved) return this.firstOutputs;
    const outputs = bare();
    for (const step of this.ordered()) {
      if (this.kindOf(step.block_id) !== "OUTPUT" || step.status === "INCOMPLETE") continue;
      const { name, value } = step.input_data;
      if (typeof name === "string") (outputs[name] ??= []).push(value ?? null);
    }
    return outputs;
  }

  /** First and last time known of it; a run that moves goes on until now. */
  span() {
    if (!this.reached) for (const step of this.steps.values()) this.reach(step);
    const [first, last] = this.reach();
    const now = instant(this.asOf) ?? Date.now();
    return [first, this.run.status === "RUNNING" ? Math.max(last, now) : last];
  }

  /**
   * Extend the known span to the times of a step, or of the run, and return it.
   *
   * @param {any} step
   * @returns {[number, number]}
   */
  reach(step = null) {
    let [first, last] = this.reached ?? [Infinity, -Infinity];
    const times = step
      ? [step.add_time, step.queue_time, step.start_time, step.end_time]
      : [this.run.created_at, this.run.started_at, this.run.ended_at];
    for (const at of times.map(instant)) {
      if (at === null) continue;
      first = Math.min(first, at);
      last = Math.max(last, at);
    }
    this.reached = [first, last];
    return this.reached;
  }
}

/** An object without a prototype: foreign names, `constructor` too, are only keys of it. */
const bare = (values = {}) => Object.assign(Object.create(null), values);

/** Times in UTC by all their digits, of which a `Date` keeps three. */
function compared(time, other) {
  const [one, two] = [time.replace("Z", ""), other.replace("Z", "")];
  return one < two ? -1 : Number(one > two);
}

/** The stats of a run in the names that readers know. */
export function statsOf(stored) {
  const figures = Object.entries(FIGURES).map(([name, theirs]) => [name, stored[theirs] ?? 0]);
  return Object.fromEntries([...figures, ...TEXTS.map((name) => [name, stored[name] ?? null])]);
}

/**
 * A step of a snapshot. `given` and `emitted` are its values before moderation, null where the
 * snapshot has only the replacements by moderation.
 */
function taken(step) {
  const { cleared_inputs: inputs, cleared_outputs: outputs } = step.stats ?? {};
  return moderated({
    ...step,
    given: isMessages(inputs) ? null : bare(step.input_data),
    emitted: isMessages(outputs) ? null : bare(step.output_data),
    input_data: bare(step.input_data),
    output_data: bare(step.output_data),
  });
}

/** Show the messages of moderation in the place of all inputs, or outputs, where there are any. */
function moderated(step) {
  const { cleared_inputs: inputs, cleared_outputs: outputs } = step.stats ?? {};
  step.input_data = isMessages(inputs) ? lastOf(inputs) : (step.given ?? step.input_data);
  step.output_data = isMessages(outputs) ? bare(outputs) : (step.emitted ?? step.output_data);
  return step;
}

/** One pin holds one value, so the last message stands in for all. */
function lastOf(messages) {
  const last = bare();
  for (const [name, texts] of Object.entries(messages)) if (texts.length) last[name] = texts.at(-1);
  return last;
}

function isMessages(cleared) {
  if (typeof cleared !== "object" || cleared === null) return false;
  const lists = Object.values(cleared);
  return lists.length > 0 && lists.every(Array.isArray);
}

const FOLDS = {
  __proto__: null,
  "graph.updated": ({ run }, event) => {
    if (event.status) {
      run.status = event.status;
      run.ended_at = isEnded(event.status) ? (event.ended_at ?? event.at) : null;
    }
    run.started_at = event.started_at ?? run.started_at;
    if (event.stats) run.stats = statsOf(event.stats);
  },
  "graph.shared": ({ run }, event) => {
    run.is_shared = event.is_shared;
  },
  "graph.deleted": (state) => {
    state.isDeleted = true;
  },
  "node.added": ({ steps, run }, event) => {
    if (steps.has(event.node_exec_id)) return;
    const { node_exec_id, node_id, block_id, status } = event;
    const step = {
      node_exec_id,
      node_id,
      block_id,
      status,
      graph_exec_id: run.id,
      given: bare(),
      emitted: bare(),
      add_time: event.added_time ?? event.at,
      queue_time: event.queued_time ?? null,
      start_time: null,
      end_time: null,
      stats: null,
    };
    steps.set(node_exec_id, moderated(step));
  },
  "node.input_added": (_, event, step) => {
    if (step?.given) step.given[event.name] = event.data;
  },
  "node.output_added": (_, event, step) => {
    if (step?.emitted) (step.emitted[event.name] ??= []).push(event.data);
  },
  "node.updated": (_, event, step) => {
    if (!step) return;
    step.status = event.status ?? step.status;
    step.stats = event.stats ?? step.stats;
    if (event.execution_data) step.given = bare(event.execution_data);
    step.queue_time = event.queued_time ?? step.queue_time;
    step.start_time = event.started_time ?? step.start_time;
    step.end_time = event.ended_time ?? step.end_time;
    moderated(step);
  },
};

const CASCADED = new Set(
  ["completed", "failed", "terminated"].map((status) => `graph_execution_${status}`),
);

/** Whether a step failed because its run ended. */
export const isCascaded = (step) => step.status === "FAILED" && CASCADED.has(errorOf(step) ?? "");

/** Whether a step failed by itself. */
export const hasFailed = (step) => step.status === "FAILED" && !isCascaded(step);

const RUN_ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** The run that a step started, where its stats name one; else null. */
export function childOf({ stats }) {
  const id = stats?.child_graph_exec_id;
  return typeof id === "string" && RUN_ID.test(id) ? id : null;
}

/** The text of the error of a run or step, or null. */
export function errorOf({ stats }) {
  const error = stats?.error;
  if (error === null || error === undefined || error === "") return null;
  return typeof error === "string" ? error : JSON.stringify(error);
}
