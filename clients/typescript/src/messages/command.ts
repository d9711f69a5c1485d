// Made by generate_types.mjs from docs/schemas/command.json.

/**
 * Values of execution.commands.v1
 */
export type Command =
  | CreateGraph
  | StartGraph
  | UpdateGraph
  | ShareGraph
  | DeleteGraph
  | AddNodeInput
  | AddNodeOutput
  | UpdateNode
  | UpdateNodes
  | SetKeyValue;
export type ExecutionStatus = "COMPLETED" | "FAILED" | "INCOMPLETE" | "QUEUED" | "REVIEW" | "RUNNING" | "TERMINATED";

export interface CreateGraph {
  type: "graph.create";
  id: string;
  at: string;
  user_id: string;
  reply_to?: string | null;
  v?: 1 | null;
  graph_exec_id: string;
  graph_id: string;
  graph_version: number;
  /**
   * @maxItems 1000
   */
  starting_nodes: StartingNode[];
  inputs?: {
    [k: string]: unknown;
  } | null;
  credential_inputs?: {
    [k: string]: unknown;
  } | null;
  nodes_input_masks?: {
    [k: string]: unknown;
  } | null;
  preset_id?: string | null;
  parent_graph_exec_id?: string | null;
  dry_run?: boolean | null;
  attributes?: {
    [k: string]: string;
  } | null;
}
export interface StartingNode {
  node_id: string;
  block_id: string;
  inputs: {
    [k: string]: unknown;
  };
  node_exec_id?: string | null;
}
export interface StartGraph {
  type: "graph.start";
  id: string;
  at: string;
  user_id: string;
  reply_to?: string | null;
  v?: 1 | null;
  graph_exec_id: string;
}
export interface UpdateGraph {
  type: "graph.update";
  id: string;
  at: string;
  user_id: string;
  reply_to?: string | null;
  v?: 1 | null;
  graph_exec_id: string;
  status?: ExecutionStatus | null;
  stats?: {
    [k: string]: unknown;
  } | null;
}
export interface ShareGraph {
  type: "graph.share";
  id: string;
  at: string;
  user_id: string;
  reply_to?: string | null;
  v?: 1 | null;
  graph_exec_id: string;
  is_shared: boolean;
  share_token_hash?: string | null;
}
export interface DeleteGraph {
  type: "graph.delete";
  id: string;
  at: string;
  user_id: string;
  reply_to?: string | null;
  v?: 1 | null;
  graph_exec_id: string;
  hard?: boolean | null;
}
export interface AddNodeInput {
  type: "node.input";
  id: string;
  at: string;
  user_id: string;
  reply_to?: string | null;
  v?: 1 | null;
  graph_exec_id: string;
  node_id: string;
  block_id: string;
  input_name: string;
  input_data: unknown;
  node_exec_id?: string | null;
  new_node_exec_id?: string | null;
}
export interface AddNodeOutput {
  type: "node.output";
  id: string;
  at: string;
  user_id: string;
  reply_to?: string | null;
  v?: 1 | null;
  graph_exec_id: string;
  node_exec_id: string;
  output_name: string;
  output_data: unknown;
}
export interface UpdateNode {
  type: "node.update";
  id: string;
  at: string;
  user_id: string;
  reply_to?: string | null;
  v?: 1 | null;
  graph_exec_id: string;
  node_exec_id: string;
  status: ExecutionStatus;
  execution_data?: {
    [k: string]: unknown;
  } | null;
  stats?: {
    [k: string]: unknown;
  } | null;
}
export interface UpdateNodes {
  type: "node.update_many";
  id: string;
  at: string;
  user_id: string;
  reply_to?: string | null;
  v?: 1 | null;
  graph_exec_id: string;
  /**
   * @minItems 1
   * @maxItems 1000
   */
  node_exec_ids: [string, ...string[]];
  status: ExecutionStatus;
  stats?: {
    [k: string]: unknown;
  } | null;
}
export interface SetKeyValue {
  type: "kv.set";
  id: string;
  at: string;
  user_id: string;
  reply_to?: string | null;
  v?: 1 | null;
  key: string;
  data: unknown;
  node_exec_id: string;
}
