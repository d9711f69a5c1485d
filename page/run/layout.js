// Where the nodes of a graph stand: a column per step of the way from left to right, the rows so
// that links cross little. Nodes come in the order in which the run reached them; a link against
// that order closes a loop and moves no node.

const ROUNDS = 4;

/** `{columns: [[id, …], …]}` for ids in order and `{from, to}` links. */
export function layered(ids, links) {
  const rank = new Map(ids.map((id, index) => [id, index]));
  const forward = links.filter(({ from, to }) => rank.get(from) < rank.get(to));
  const before = grouped(forward, "to", "from");
  const after = grouped(forward, "from", "to");
  const depth = new Map();
  for (const id of ids)
    depth.set(id, Math.max(-1, ...(before.get(id) ?? []).map((one) => depth.get(one))) + 1);
  const columns = [];
  for (const id of ids) (columns[depth.get(id)] ??= []).push(id);
  for (let round = 0; round < ROUNDS; round++) {
    for (const column of columns) arrange(column, columns, before);
    for (const column of [...columns].reverse()) arrange(column, columns, after);
  }
  return columns;
}

/** Sort a column by where its neighbours stand, on average; a node without any keeps its place. */
function arrange(column, columns, neighbours) {
  const place = new Map(
    columns.flatMap((one) => one.map((id, index) => [id, (index + 0.5) / one.length])),
  );
  const weight = (id) => {
    const around = neighbours.get(id) ?? [];
    return around.length
      ? around.reduce((sum, one) => sum + place.get(one), 0) / around.length
      : place.get(id);
  };
  const weights = new Map(column.map((id) => [id, weight(id)]));
  column.sort((a, b) => weights.get(a) - weights.get(b));
}

function grouped(links, by, what) {
  const groups = new Map();
  for (const link of links) {
    if (!groups.has(link[by])) groups.set(link[by], []);
    groups.get(link[by]).push(link[what]);
  }
  return groups;
}
