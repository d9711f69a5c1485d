// The life of a run. A proxy interrupts the first stream on its way.
import { ExecutionClient, OutcomeUnknown, StreamRefused, follow } from "./dist/index.js";
const { brokers, redisUrl, topicPrefix, redisPrefix, url, run } = JSON.parse(process.argv[2]);
const client = await ExecutionClient.connect({ brokers, redisUrl, topicPrefix, redisPrefix });
const own = { user_id: "typescript", graph_exec_id: run };
const node = { node_id: "a", block_id: "b", inputs: { in: "é💥" } };
const create = {
  ...{ type: "graph.create", id: crypto.randomUUID(), ...own },
  ...{ graph_id: "g", graph_version: 1, starting_nodes: [node] },
};
const outcomes = [];
for (const command of [create, create, { type: "graph.start", ...own },
  { type: "graph.update", ...own, status: "QUEUED" }])
  outcomes.push((await client.call(command)).outcome);
const unknown = await client.call({ type: "graph.start", ...own, graph_exec_id: crypto.randomUUID() });
outcomes.push(unknown.reason);
const places = await client.send(
  { type: "graph.update", ...own, stats: { cost: 1 } },
  { type: "graph.update", ...own, status: "COMPLETED" },
);
const kv = await client.call({ type: "kv.set", user_id: "typescript", key: "k", data: [1], node_exec_id: crypto.randomUUID() });
const seen = [];
const stopping = new AbortController();
const from = new AbortController();
let second;
for await (const frame of follow({ url, graphExecId: run, after: "0", signal: stopping.signal })) {
  seen.push(frame.data.type);
  if (seen.length === 2) second = frame.cursor;
  if (frame.data.status === "COMPLETED") stopping.abort();
}
const rest = [];
for await (const frame of follow({ url, graphExecId: run, after: second, signal: from.signal })) {
  rest.push(frame.data.type);
  if (frame.data.status === "COMPLETED") from.abort();
}
let refused;
try {
  await follow({ url, graphExecId: "no id" }).next();
} catch (error) {
  refused = error instanceof StreamRefused && error.status;
}
const offsets = places.map((one) => Number(one.offset));
await client.close();
const away = await ExecutionClient.connect({ brokers, redisUrl, topicPrefix, redisPrefix: "elsewhere" });
let late;
try {
  await away.call({ type: "graph.start", ...own }, { timeout: 300 });
} catch (error) {
  late = error instanceof OutcomeUnknown;
}
await away.close();
let unreachable;
try {
  await ExecutionClient.connect({ brokers, redisUrl: "redis://127.0.0.1:1" });
} catch (error) {
  unreachable = error.code;
}
console.log(JSON.stringify({ outcomes, offsets, partition: places[0].partition, kv,
  seen, rest, refused, late, unreachable }));
