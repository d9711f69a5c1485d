import assert from "node:assert/strict";
import { test } from "node:test";
import { LeftOut } from "../page/lib/left_out.js";
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

test("values that are left out stand where their markers were", () => {
  const place = { node_exec_id: "step-1", pin: "out", bytes: 9, seq: 5 };
  const ofRun = { node_exec_id: null, pin: null, bytes: 9, seq: 1 };
  const shown = JSON.parse('{"output_data": {"__proto__": ["small", "…"]}, "input_data": "…"}');
  const snapshot = {
    ...run([step(1, shown)]),
    inputs: "…",
    outputs: { answer: ["…"] },
    left_out: [
      { ...place, field: "output_data", pin: "__proto__", index: 1 },
      { ...place, field: "input_data", pin: null, seq: 3 },
      { ...ofRun, field: "inputs" },
      { ...place, field: "outputs", name: "answer", index: 0, seq: 4 },
    ],
  };
  const state = new RunState(snapshot);
  const { input_data: input, output_data: output } = state.steps.get("step-1");
  const found = [output.__proto__[1], input["…"], state.run.inputs["…"], state.outputs().answer[0]];
  assert.deepEqual(
    found.map((value) => [value instanceof LeftOut, value.place?.seq]),
    [5, 3, 1, 4].map((seq) => [true, seq]),
  );
  assert.equal(output.__proto__[0], "small");
});
