// The changes between the two documents of each run of the first file, to the second one.

import { readFileSync, writeFileSync } from "node:fs";
import { parse } from "../page/lib/exact.js";
import { changesOf } from "../page/run/changes.js";
import { RunState } from "../page/run/state.js";
import { written } from "./written.mjs";

const [, , from, to] = process.argv;
const state = (document) => new RunState(document, () => undefined);

const changes = parse(readFileSync(from, "utf8")).map(({ before, after }) =>
  changesOf(state(before), state(after)).map(({ step, field, was, now }) => [
    step?.node_exec_id ?? null,
    field,
    was,
    now,
  ]),
);
writeFileSync(to, written(changes));
