// Values that a snapshot leaves out because they are large. Each is had when the reader asks for it.

import { get } from "./api.js";

/** The one pin of a document that is left out as a whole. */
const ALL = "…";

export class LeftOut {
  /** `place`: a member of `left_out`. */
  constructor(runId, place) {
    this.path = `/v1/executions/${encodeURIComponent(runId)}`;
    this.place = place;
    this.isLoaded = false;
    this.value = undefined;
  }

  /** Fetch the value, once. */
  async load() {
    if (this.isLoaded) return;
    const { seq } = this.place;
    this.value = seq === null ? await this.#fromRun() : await this.#fromJournal(seq);
    this.isLoaded = true;
  }

  async #fromRun() {
    const [holder, name] = holderOf(await get(this.path), this.place);
    return holder[name];
  }

  async #fromJournal(seq) {
    const { data } = await get(`${this.path}/journal`, { after: seq - 1, limit: 1 });
    if (data[0]?.seq !== seq) throw new Error("The journal no longer has this value.");
    return valueIn(data[0], this.place);
  }

  /** The same before and after it is loaded: views are drawn again only for changed parts. */
  toJSON() {
    return this.place;
  }
}

/** Put a LeftOut in the place of each marker of a run. */
export function markLeftOut(run) {
  for (const place of run.left_out ?? []) {
    const [holder, name, isWhole] = holderOf(run, place);
    if (!holder) continue;
    const value = new LeftOut(run.id, place);
    holder[name] = isWhole ? { [ALL]: value } : value;
  }
}

/** The object or list that has the value, its name there, and whether it is a whole document. */
function holderOf(run, { node_exec_id: id, field, pin, name, index }) {
  const isOfStep = field === "input_data" || field === "output_data";
  const holder = isOfStep ? run.node_executions.find((step) => step.node_exec_id === id) : run;
  const key = isOfStep ? pin : (name ?? null);
  if (key === null) return [holder, field, true];
  const values = holder?.[field];
  return index === undefined ? [values, key, false] : [values?.[key], index, false];
}

/** The text of a journal entry about it. */
function valueIn(event, { field, pin }) {
  if (event.type === "graph.created") return event[field];
  if (event.execution_data === undefined) return event.data;
  return pin === null ? event.execution_data : event.execution_data[pin];
}
