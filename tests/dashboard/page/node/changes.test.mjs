import assert from "node:assert/strict";
import { test } from "node:test";
import { changesOf } from "../page/run/changes.js";

const state = (run, steps = [], outputs = {}) => ({
  run,
  steps: new Map(steps.map((step) => [step.node_exec_id, step])),
  outputs: () => outputs,
});
const told = (before, after) =>
  changesOf(before, after).map(({ step, field, was, now }) => [
    step?.node_exec_id ?? null,
    field,
    was,
    now,
  ]);

test("fields of the run, and items of its values", () => {
  const before = state({ status: "RUNNING", stats: null }, [], {});
  const after = state({ status: "FAILED", stats: { cost: 3 } }, [], { answer: [42] });
  assert.deepEqual(told(before, after), [
    [null, "status", "RUNNING", "FAILED"],
    [null, "stats.cost", null, 3],
    [null, "outputs.answer", null, [42]],
  ]);
});

test("a step that came is one change, one that moved has each of its own", () => {
  const step = (id, status, input_data = {}) => ({ node_exec_id: id, status, input_data });
  const before = state({}, [step("a", "QUEUED")]);
  const after = state({}, [step("a", "FAILED", { text: "hi" }), step("b", "QUEUED")]);
  assert.deepEqual(told(before, after), [
    ["a", "status", "QUEUED", "FAILED"],
    ["a", "input_data.text", null, "hi"],
    ["b", "step", null, "QUEUED"],
  ]);
});

test("nothing changed", () => {
  assert.deepEqual(told(state({ status: "QUEUED" }), state({ status: "QUEUED" })), []);
});
