// One run as the page holds it: a snapshot from the server with the events since folded in, by the
// rules of the contract. Each `seq` counts once, whatever comes again.

import { blockType } from "../lib/names.js";
import { instant } from "../lib/format.js";
import { isEnded } from "../lib/statuses.js";

const STATS = {
  walltime: "duration",
  cputime: "duration_cpu_only",
  nodes_walltime: "node_exec_time",
  nodes_cputime: "node_exec_time_cpu_only",
  node_count: "node_exec_count",
};

export class RunState {
  constructor(snapshot) {
    this.reset(snapshot);
  }

  reset({ node_executions: steps, outputs, ...run }) {
    this.seq = 0;
    this.run = run;
    this.firstOutputs = outputs;
    this.isMoved = false;
    this.isDeleted = false;
    this.steps = new Map(steps.map((step) => [step.node_exec_id, step]));
  }

  /** Fold one event in; false when it was known already or changes nothing. */
  apply(event) {
    if (event.seq === undefined || event.seq <= this.seq) return false;
    this.seq = event.seq;
    this.isMoved = true;
    const fold = FOLDS[event.type];
    fold?.(this, event, this.steps.get(event.node_exec_id));
    return fold !== undefined;
  }

  /** Steps as they were queued; those that are not stand by when they were added. */
  ordered() {
    return [...this.steps.values()].sort(
      (a, b) => !a.queue_time - !b.queue_time || placeOf(a) - placeOf(b),
    );
  }

  /** What the run gave out: the `value`s that its OUTPUT steps were given, by their `name`. */
  outputs() {
    if (!this.isMoved) return this.firstOutputs;
    const outputs = {};
    for (const step of this.ordered()) {
      const { name, value } = step.input_data;
      if (
        blockType(step.block_id) !== "OUTPUT" ||
        step.status === "INCOMPLETE" ||
        name === undefined
      )
        continue;
      (outputs[name] ??= []).push(value ?? null);
    }
    return outputs;
  }

  /** First and last time known of it; a run that moves goes on until now. */
  span() {
    const times = [this.run.created_at, this.run.started_at, this.run.ended_at].map(instant);
    for (const step of this.steps.values()) {
      times.push(...[step.add_time, step.queue_time, step.start_time, step.end_time].map(instant));
    }
    const known = times.filter((one) => one !== null);
    const last = Math.max(...known);
    return [Math.min(...known), this.run.status === "RUNNING" ? Math.max(last, Date.now()) : last];
  }
}

const placeOf = (step) => instant(step.queue_time ?? step.add_time);

const FOLDS = {
  "graph.updated": ({ run }, event) => {
    if (event.status) {
      run.status = event.status;
      run.ended_at = isEnded(event.status) ? (event.ended_at ?? event.at) : null;
    }
    run.started_at = event.started_at ?? run.started_at;
    if (event.stats)
      run.stats = Object.fromEntries(
        Object.entries(event.stats).map(([name, value]) => [STATS[name] ?? name, value]),
      );
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
    steps.set(node_exec_id, {
      node_exec_id,
      node_id,
      block_id,
      status,
      graph_exec_id: run.id,
      input_data: {},
      output_data: {},
      add_time: event.added_time ?? event.at,
      queue_time: event.queued_time ?? null,
      start_time: null,
      end_time: null,
      stats: null,
    });
  },
  "node.input_added": (_, event, step) => {
    if (step) step.input_data[event.name] = event.data;
  },
  "node.output_added": (_, event, step) => {
    if (step) (step.output_data[event.name] ??= []).push(event.data);
  },
  "node.updated": (_, event, step) => {
    if (!step) return;
    step.status = event.status ?? step.status;
    step.stats = event.stats ?? step.stats;
    step.input_data = event.execution_data ?? step.input_data;
    step.queue_time = event.queued_time ?? step.queue_time;
    step.start_time = event.started_time ?? step.start_time;
    step.end_time = event.ended_time ?? step.end_time;
  },
};

/** The text of what went wrong with a run or step, or null. */
export function errorOf({ stats }) {
  const error = stats?.error;
  if (error === null || error === undefined || error === "") return null;
  return typeof error === "string" ? error : JSON.stringify(error);
}
