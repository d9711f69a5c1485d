// Links between steps. They are not stored, so they are derived from the values: a
// step's input came from the one node that gave out exactly this value before. Where no node did,
// or several, no link is drawn.

const TELLING = 3; // characters; shorter values are too common to be evidence
const COMPARED = 20_000; // values; beyond them it would take too long

/** `{links: [{from, to}], isPartial}` between node ids. */
export function linksOf(steps) {
  const givers = new Map();
  const links = new Map();
  let compared = 0;
  for (const step of steps) {
    for (const value of Object.values(step.output_data).flat()) {
      const key = keyOf(value);
      if (key === null || ++compared > COMPARED) continue;
      if (!givers.has(key)) givers.set(key, new Set());
      givers.get(key).add(step.node_id);
    }
  }
  for (const step of steps) {
    for (const value of Object.values(step.input_data)) {
      const key = keyOf(value);
      const nodes = key === null ? undefined : givers.get(key);
      if (nodes?.size !== 1) continue;
      const [from] = nodes;
      const to = step.node_id;
      if (from !== to) links.set(JSON.stringify([from, to]), { from, to });
    }
  }
  return { links: [...links.values()], isPartial: compared > COMPARED };
}

function keyOf(value) {
  if (value === null || typeof value === "boolean") return null;
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text.length < TELLING ? null : text;
}
