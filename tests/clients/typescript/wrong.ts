// Compiles only as long as each wrong command is an error of the types.
import { ExecutionClient } from "./index.js";
declare const client: ExecutionClient;
const run = { user_id: "ada", graph_exec_id: "0198c8f0-0000-7000-8000-0000000000aa" };
await client.send({ type: "graph.start", ...run });
// @ts-expect-error
await client.send({ type: "graph.stop", ...run });
// @ts-expect-error
await client.send({ type: "graph.share", ...run });
// @ts-expect-error
await client.send({ type: "graph.start", ...run, typo: 1 });
