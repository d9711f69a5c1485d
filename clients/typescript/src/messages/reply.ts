// Made by generate_types.mjs from docs/schemas/reply.json.

/**
 * Messages of the Redis channels execution_reply/…
 */
export interface Reply {
  command_id: string;
  outcome: "applied" | "dead" | "duplicate" | "quarantined" | "refused";
  reason?:
    | "already_exists"
    | "batch_too_large"
    | "copy"
    | "deleted"
    | "fault"
    | "illegal_transition"
    | "input_already_there"
    | "invalid_field"
    | "key_mismatch"
    | "missing_execution_data"
    | "not_a_target"
    | "not_an_object"
    | "not_json"
    | "not_open_for_input"
    | "not_storable"
    | "nothing_to_change"
    | "parked"
    | "quarantined"
    | "run_quarantined"
    | "superseded"
    | "too_deep"
    | "too_large"
    | "unknown_graph_execution"
    | "unknown_node_execution"
    | "unknown_type"
    | "unsupported_version"
    | "wrong_owner"
    | "wrong_partition";
  detail?: {
    [k: string]: unknown;
  };
  /**
   * @minItems 2
   * @maxItems 2
   */
  seq?: [unknown, unknown];
  node_exec_id?: string;
  updated?: number;
}
