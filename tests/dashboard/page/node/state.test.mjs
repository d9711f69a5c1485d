import assert from "node:assert/strict";
import { test } from "node:test";
import { RunState } from "../page/run/state.js";

const at = "2026-03-01T06:30:00Z";
const step = (number, more = {}) => ({
  node_exec_id: `step-${number}`,
  block_id: "block",
  status: "RUNNING",
  input_data: {},
  output_data: {},
  add_time: at,
  queue_time: null,
  start_time: null,
  end_time: null,
  stats: null,
  ...more,
});
const run = (steps) => ({ id: "run", created_at: at, node_executions: steps, outputs: {} });

test("a run of 200,000 steps has a span", () => {
  const steps = Array.from({ length: 200_000 }, (_, number) => step(number));
  steps.push(step("last", { end_time: "2026-03-01T06:30:05Z" }));
  const [first, last] = new RunState(run(steps)).span();
  assert.equal(last - first, 5_000);
});

test("what moderation has hidden before the snapshot stays hidden", () => {
  const stats = { cleared_inputs: { in: ["no", "never"] }, cleared_outputs: { out: ["gone"] } };
  const shown = { input_data: { in: "never" }, output_data: { out: ["gone"] } };
  const state = new RunState(run([step(1, { stats, ...shown })]));
  const of = { node_exec_id: "step-1", at };
  state.apply({ type: "node.output_added", seq: 1, name: "out", data: "more", ...of });
  state.apply({ type: "node.updated", seq: 2, status: "COMPLETED", stats: { cost: 1 }, ...of });
  const { input_data: input, output_data: output } = state.steps.get("step-1");
  assert.deepEqual({ ...input }, { in: "never" });
  assert.deepEqual({ ...output }, { out: ["gone"] });
});
