// Folds each run of the first file and writes the page's state of it to the second one.

import { readFileSync, writeFileSync } from "node:fs";
import { parse } from "../page/lib/exact.js";
import { RunState } from "../page/run/state.js";
import { written } from "./written.mjs";

const [, , from, to] = process.argv;
const { kinds, runs } = parse(readFileSync(from, "utf8"));
const kindOf = new Map(Object.entries(kinds));

const shown = runs.map(({ snapshot, events }) => {
  const state = new RunState(snapshot, (id) => kindOf.get(id));
  for (const event of events) state.apply(event);
  const { status, started_at, ended_at, is_shared, stats } = state.run;
  const steps = state.ordered().map((step) => ({ ...step, given: undefined, emitted: undefined }));
  const run = { status, started_at, ended_at, is_shared, stats };
  return { ...run, is_deleted: state.isDeleted, outputs: state.outputs(), node_executions: steps };
});
writeFileSync(to, written(shown));
