// The catalogue: names for the ids of blocks and graphs. Fetched once; it may be empty.

import { get } from "./api.js";
import { shortId } from "./format.js";

/** @type {Map<string, {block_id: string, name: string, block_type: string}>} */
const blocks = new Map();
/** @type {Map<string, {graph_id: string, graph_version: number, name: string}>} */
const graphs = new Map();
/** @type {Promise<unknown> | null} */
let loading = null;

/** Resolves when names are known, or known to be missing. */
export function namesLoaded() {
  loading ??= Promise.all([
    load("/v1/blocks", (block) => blocks.set(block.block_id, block)),
    load("/v1/graphs", (graph) => graphs.set(`${graph.graph_id}:${graph.graph_version}`, graph)),
  ]);
  return loading;
}

/** "AITextGeneratorBlock" as "AI Text Generator"; an id without a name is shortened. */
export function blockName(id) {
  return readable(blocks.get(id)?.name ?? shortId(id));
}

export const readable = (name) =>
  name
    .replace(/Block$/, "")
    .replace(/([a-z0-9])([A-Z])/g, "$1 $2")
    .replace(/([A-Z])([A-Z][a-z])/g, "$1 $2");

export const blockType = (id) => blocks.get(id)?.block_type ?? null;

export function graphName(id, version) {
  return graphs.get(`${id}:${version}`)?.name ?? shortId(id);
}

/** Ids of blocks, by name. */
export const knownBlocks = () =>
  [...blocks.keys()].sort((a, b) => blockName(a).localeCompare(blockName(b)));

/** Ids and names, newest version of each, by name. */
export function knownGraphs() {
  const newest = new Map();
  for (const graph of graphs.values()) {
    if ((newest.get(graph.graph_id)?.graph_version ?? 0) <= graph.graph_version)
      newest.set(graph.graph_id, graph);
  }
  return [...newest.values()].sort((a, b) => a.name.localeCompare(b.name));
}

async function load(path, keep) {
  try {
    (await get(path)).data.forEach(keep);
  } catch {
    loading = null; // names are a comfort; the next view tries again
  }
}
