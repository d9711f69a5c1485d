-- Runs, steps, the journal they are folds of, key-values, what went wrong, and progress.
-- Names are public: docs/contract.md, section 5.

create table graph_execution (
    id uuid primary key,
    user_id text not null,
    graph_id text not null,
    graph_version integer not null,
    status text not null,
    inputs jsonb,
    credential_inputs jsonb,
    nodes_input_masks jsonb,
    preset_id text,
    parent_graph_exec_id uuid,
    dry_run boolean not null,
    stats jsonb,
    is_deleted boolean not null,
    is_shared boolean not null,
    share_token_hash text,
    shared_at timestamptz,
    created_at timestamptz not null,
    started_at timestamptz,
    ended_at timestamptz,
    updated_at timestamptz not null,
    last_seq bigint not null,
    source_partition integer not null,
    trimmed_at timestamptz
) with (fillfactor = 60);  -- rows are rewritten at nearly every batch; leave room to do it in place

-- All of a user's runs: costs count the deleted ones too.
create index graph_execution_user on graph_execution (user_id, created_at desc, id desc);
create index graph_execution_graph on graph_execution (graph_id, created_at desc, id desc)
    where not is_deleted;
create index graph_execution_created on graph_execution (created_at desc, id desc)
    where not is_deleted;
-- The few that are alive, for diagnostics and filters by status.
create index graph_execution_live on graph_execution (created_at desc, id desc)
    where status in ('INCOMPLETE', 'QUEUED', 'RUNNING', 'REVIEW');
create index graph_execution_ended on graph_execution using brin (ended_at)
    with (pages_per_range = 32);
create index graph_execution_parent on graph_execution (parent_graph_exec_id)
    where parent_graph_exec_id is not null;
create index graph_execution_share on graph_execution (share_token_hash)
    where share_token_hash is not null;

-- `status` is in no index: moving a step stays a heap-only update.
create table node_execution (
    id uuid not null,
    graph_exec_id uuid not null,
    run_day date not null,
    node_id text not null,
    block_id text not null,
    status text not null,
    execution_data jsonb,
    stats jsonb,
    added_seq bigint not null,
    added_time timestamptz not null,
    queued_time timestamptz,
    started_time timestamptz,
    ended_time timestamptz,
    primary key (graph_exec_id, id, run_day)
) partition by range (run_day);

create table node_execution_other partition of node_execution default with (fillfactor = 70);

create index node_execution_id on node_execution (id);
create index node_execution_added on node_execution using brin (added_time);

create table journal (
    graph_exec_id uuid not null,
    seq bigint not null,
    run_day date not null,
    at timestamptz not null,
    command_id uuid not null,
    type text not null,
    node_exec_id uuid,
    name text,
    data jsonb,
    detail jsonb,
    was text,
    status text,
    source_partition integer not null,
    source_offset bigint not null,
    source_index integer not null,
    primary key (graph_exec_id, seq, run_day)
) partition by range (run_day);

create table journal_other partition of journal default;

-- What was committed but perhaps not yet published is found by its source.
create index journal_source on journal (source_partition, source_offset);

create view node_input_output as
select graph_exec_id || '/' || seq as id,
       node_exec_id,
       type = 'node.output_added' as is_output,
       name,
       data,
       at as time
  from journal
 where type in ('node.input_added', 'node.output_added');

create table kv_journal (
    user_id text not null,
    key text not null,
    node_exec_id uuid not null,
    data jsonb not null,
    at timestamptz not null,
    command_id uuid not null,
    source_partition integer not null,
    source_offset bigint not null,
    primary key (source_partition, source_offset),
    unique (user_id, command_id)
);

create table kv_data (
    user_id text not null,
    key text not null,
    node_exec_id uuid not null,
    data jsonb not null,
    updated_at timestamptz not null,
    primary key (user_id, key)
);

create table block (
    id text primary key,
    name text not null,
    block_type text not null
);

create table graph (
    id text not null,
    version integer not null,
    name text not null,
    description text,
    primary key (id, version)
);

create table refusal (
    source_partition integer not null,
    source_offset bigint not null,
    command_id uuid not null,
    graph_exec_id uuid,
    user_id text not null,
    command_type text not null,
    reason text not null,
    detail jsonb not null,
    at timestamptz not null,
    primary key (source_partition, source_offset)
);

create index refusal_run on refusal (graph_exec_id);

create table dead_letter (
    id uuid primary key,
    topic text not null,
    partition integer not null,
    "offset" bigint not null,
    key bytea,
    value bytea,
    headers jsonb not null,
    reason text not null,
    detail jsonb not null,
    received_at timestamptz not null,
    redriven_at timestamptz
);

create index dead_letter_place on dead_letter (topic, partition, "offset");

create table consumer_offset (
    consumer text not null,
    topic text not null,
    partition integer not null,
    next_offset bigint not null,
    epoch bigint not null,
    base bigint not null default 0,
    published_offset bigint not null default -1,
    published_index integer not null default -1,
    applied bigint not null default 0,
    duplicate bigint not null default 0,
    refused bigint not null default 0,
    dead bigint not null default 0,
    primary key (consumer, topic, partition)
) with (fillfactor = 50);

-- Give `day` partitions of its own. Attaching, unlike creating in place, does not stop readers.
create function ensure_day(day date) returns void language plpgsql as $$
declare
    parent text;
    child text;
begin
    perform pg_advisory_xact_lock(hashtext('execstream.ensure_day'));
    foreach parent in array array['node_execution', 'journal'] loop
        child := format('%s_%s', parent, to_char(day, 'YYYYMMDD'));
        continue when to_regclass(child) is not null;
        execute format('create table %I (like %I including all)', child, parent);
        execute format('alter table %I attach partition %I for values from (%L) to (%L)',
                       parent, child, day, day + 1);
        if parent = 'node_execution' then
            execute format('alter table %I set (fillfactor = 70)', child);
        end if;
    end loop;
end $$;
