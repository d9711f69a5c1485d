// Made by generate_types.mjs from docs/schemas/event.json.

/**
 * Values of execution.events.v1
 */
export type Event =
  | GraphCreated
  | GraphUpdated
  | GraphShared
  | GraphDeleted
  | NodeAdded
  | NodeInputAdded
  | NodeOutputAdded
  | NodeUpdated
  | KvChanged
  | CommandRefused;
export type ExecutionStatus = "COMPLETED" | "FAILED" | "INCOMPLETE" | "QUEUED" | "REVIEW" | "RUNNING" | "TERMINATED";

export interface GraphCreated {
  type: "graph.created";
  at: string;
  command_id: string;
  /**
   * @minItems 3
   * @maxItems 3
   */
  source: [unknown, unknown, unknown];
  seq: number;
  graph_exec_id: string;
  graph_id: string;
  graph_version: number;
  user_id: string;
  status: ExecutionStatus;
  dry_run?: boolean;
  skewed?: boolean;
  imported?: "past" | "recent";
  inputs?: {};
  credential_inputs?: {};
  nodes_input_masks?: {};
  preset_id?: string;
  parent_graph_exec_id?: string;
  attributes?: {
    [k: string]: string;
  };
  truncated?: boolean;
}
export interface GraphUpdated {
  type: "graph.updated";
  at: string;
  command_id: string;
  /**
   * @minItems 3
   * @maxItems 3
   */
  source: [unknown, unknown, unknown];
  seq: number;
  graph_exec_id: string;
  graph_id: string;
  graph_version: number;
  user_id: string;
  started_at: string | null;
  ended_at: string | null;
  dry_run?: boolean;
  skewed?: boolean;
  imported?: "past" | "recent";
  was?: ExecutionStatus;
  status?: ExecutionStatus;
  stats?: {};
  truncated?: boolean;
}
export interface GraphShared {
  type: "graph.shared";
  at: string;
  command_id: string;
  /**
   * @minItems 3
   * @maxItems 3
   */
  source: [unknown, unknown, unknown];
  seq: number;
  graph_exec_id: string;
  graph_id: string;
  graph_version: number;
  user_id: string;
  is_shared: boolean;
  shared_at: string | null;
  dry_run?: boolean;
  skewed?: boolean;
  imported?: "past" | "recent";
  truncated?: boolean;
}
export interface GraphDeleted {
  type: "graph.deleted";
  at: string;
  command_id: string;
  /**
   * @minItems 3
   * @maxItems 3
   */
  source: [unknown, unknown, unknown];
  seq: number;
  graph_exec_id: string;
  graph_id: string;
  graph_version: number;
  user_id: string;
  hard: boolean;
  dry_run?: boolean;
  skewed?: boolean;
  imported?: "past" | "recent";
  truncated?: boolean;
}
export interface NodeAdded {
  type: "node.added";
  at: string;
  command_id: string;
  /**
   * @minItems 3
   * @maxItems 3
   */
  source: [unknown, unknown, unknown];
  seq: number;
  graph_exec_id: string;
  graph_id: string;
  graph_version: number;
  user_id: string;
  node_exec_id: string;
  node_id: string;
  block_id: string;
  added_time: string;
  status: ExecutionStatus;
  dry_run?: boolean;
  skewed?: boolean;
  imported?: "past" | "recent";
  queued_time?: string;
  started_time?: string;
  ended_time?: string;
  stats?: {};
  execution_data?: {};
  truncated?: boolean;
}
export interface NodeInputAdded {
  type: "node.input_added";
  at: string;
  command_id: string;
  /**
   * @minItems 3
   * @maxItems 3
   */
  source: [unknown, unknown, unknown];
  seq: number;
  graph_exec_id: string;
  graph_id: string;
  graph_version: number;
  user_id: string;
  node_exec_id: string;
  node_id: string;
  block_id: string;
  name: string;
  data: unknown;
  dry_run?: boolean;
  skewed?: boolean;
  imported?: "past" | "recent";
  truncated?: boolean;
}
export interface NodeOutputAdded {
  type: "node.output_added";
  at: string;
  command_id: string;
  /**
   * @minItems 3
   * @maxItems 3
   */
  source: [unknown, unknown, unknown];
  seq: number;
  graph_exec_id: string;
  graph_id: string;
  graph_version: number;
  user_id: string;
  node_exec_id: string;
  node_id: string;
  block_id: string;
  name: string;
  data: unknown;
  dry_run?: boolean;
  skewed?: boolean;
  imported?: "past" | "recent";
  truncated?: boolean;
}
export interface NodeUpdated {
  type: "node.updated";
  at: string;
  command_id: string;
  /**
   * @minItems 3
   * @maxItems 3
   */
  source: [unknown, unknown, unknown];
  seq: number;
  graph_exec_id: string;
  graph_id: string;
  graph_version: number;
  user_id: string;
  node_exec_id: string;
  node_id: string;
  block_id: string;
  added_time: string;
  dry_run?: boolean;
  skewed?: boolean;
  imported?: "past" | "recent";
  queued_time?: string;
  started_time?: string;
  ended_time?: string;
  was?: ExecutionStatus;
  status?: ExecutionStatus;
  stats?: {};
  execution_data?: {};
  truncated?: boolean;
}
export interface KvChanged {
  type: "kv.changed";
  at: string;
  command_id: string;
  /**
   * @minItems 3
   * @maxItems 3
   */
  source: [unknown, unknown, unknown];
  user_id: string;
  key: string;
  data: unknown;
  node_exec_id: string;
  truncated?: boolean;
}
export interface CommandRefused {
  type: "command.refused";
  at: string;
  command_id: string;
  /**
   * @minItems 3
   * @maxItems 3
   */
  source: [unknown, unknown, unknown];
  user_id: string;
  command_type:
    | "graph.create"
    | "graph.delete"
    | "graph.share"
    | "graph.start"
    | "graph.update"
    | "kv.set"
    | "node.input"
    | "node.output"
    | "node.update"
    | "node.update_many";
  reason:
    | "already_exists"
    | "deleted"
    | "illegal_transition"
    | "input_already_there"
    | "missing_execution_data"
    | "not_a_target"
    | "not_open_for_input"
    | "nothing_to_change"
    | "superseded"
    | "unknown_graph_execution"
    | "unknown_node_execution"
    | "wrong_owner";
  detail: {};
  graph_exec_id?: string;
  truncated?: boolean;
}
