-- Errors of each run, so that runs are found by the error, and errors by graph version and owner.
-- What was counted until now has no rows here.
create table run_error (
    hour timestamptz not null,
    source_partition integer not null,
    graph_exec_id uuid not null,
    block_id text not null,
    fingerprint text not null,
    class text not null,
    failures bigint not null,
    node_exec_id uuid not null,
    last_at timestamptz not null,
    primary key (hour, source_partition, graph_exec_id, block_id, fingerprint)
) with (fillfactor = 50);

create index run_error_run on run_error (graph_exec_id);
create index run_error_class on run_error (class, graph_exec_id);
create index run_error_block on run_error (block_id, fingerprint, graph_exec_id);

drop function commit_tally(
    text, text, progress[], block_minute[], node_day[], graph_minute[], user_day[], block_error[],
    integer[], boolean[], block_total[], node_total[]
);

-- One batch of events and the offsets after it. The published position of the consumer is the
-- source of the last event that was counted: what is not greater was counted before.
create function commit_tally(
    of_consumer text,
    of_topic text,
    moves progress[],
    blocks block_minute[],
    nodes node_day[],
    graphs graph_minute[],
    users user_day[],
    errors block_error[],
    latest integer[],
    are_bounded boolean[],
    run_errors run_error[],
    block_totals block_total[],
    node_totals node_total[]
) returns boolean language plpgsql as $$
begin
    if not advance(of_consumer, of_topic, moves) then
        return true;
    end if;

    insert into block_minute as t select * from unnest(blocks)
    on conflict (minute, source_partition, block_id) do update
       set added = t.added + excluded.added,
           added_failed = t.added_failed + excluded.added_failed,
           ended = t.ended + excluded.ended,
           failed = t.failed + excluded.failed,
           terminated = t.terminated + excluded.terminated,
           duration_ms = t.duration_ms + excluded.duration_ms,
           cost = t.cost + excluded.cost,
           tokens = t.tokens + excluded.tokens,
           cascaded = t.cascaded + excluded.cascaded,
           caller_failed = t.caller_failed + excluded.caller_failed,
           skewed = t.skewed + excluded.skewed,
           histogram = add_counts(t.histogram, excluded.histogram),
           error_classes = add_counts(t.error_classes, excluded.error_classes);

    insert into block_hour as t
    select date_trunc('hour', b.minute, 'UTC'), b.source_partition, b.block_id,
           sum(b.added), sum(b.added_failed)
      from unnest(blocks) as b
     group by 1, 2, 3
    having sum(b.added) <> 0 or sum(b.added_failed) <> 0
     order by 1, 2, 3
    on conflict (hour, source_partition, block_id) do update
       set added = t.added + excluded.added,
           added_failed = t.added_failed + excluded.added_failed;

    insert into node_day as t select * from unnest(nodes)
    on conflict (day, source_partition, graph_id, node_id) do update
       set added = t.added + excluded.added,
           added_failed = t.added_failed + excluded.added_failed,
           ended = t.ended + excluded.ended,
           failed = t.failed + excluded.failed,
           terminated = t.terminated + excluded.terminated,
           duration_ms = t.duration_ms + excluded.duration_ms,
           cost = t.cost + excluded.cost,
           tokens = t.tokens + excluded.tokens,
           cascaded = t.cascaded + excluded.cascaded,
           caller_failed = t.caller_failed + excluded.caller_failed,
           skewed = t.skewed + excluded.skewed;

    insert into graph_minute as t select * from unnest(graphs)
    on conflict (minute, source_partition, graph_id) do update
       set incomplete = t.incomplete + excluded.incomplete,
           queued = t.queued + excluded.queued,
           running = t.running + excluded.running,
           completed = t.completed + excluded.completed,
           terminated = t.terminated + excluded.terminated,
           failed = t.failed + excluded.failed,
           review = t.review + excluded.review;

    insert into user_day as t select * from unnest(users)
    on conflict (day, source_partition, user_id) do update
       set ended = t.ended + excluded.ended,
           failed = t.failed + excluded.failed,
           cost = t.cost + excluded.cost,
           tokens = t.tokens + excluded.tokens;

    perform add_errors(errors, latest, are_bounded);

    insert into run_error as t select * from unnest(run_errors)
    on conflict (hour, source_partition, graph_exec_id, block_id, fingerprint) do update
       set failures = t.failures + excluded.failures,
           node_exec_id = excluded.node_exec_id,
           last_at = excluded.last_at;

    insert into block_total as t select * from unnest(block_totals)
    on conflict (source_partition, block_id) do update
       set position_offset = excluded.position_offset,
           position_index = excluded.position_index,
           newest = greatest(t.newest, excluded.newest),
           added = t.added + excluded.added,
           added_failed = t.added_failed + excluded.added_failed,
           ended = t.ended + excluded.ended,
           failed = t.failed + excluded.failed,
           terminated = t.terminated + excluded.terminated,
           duration_ms = t.duration_ms + excluded.duration_ms,
           cost = t.cost + excluded.cost,
           tokens = t.tokens + excluded.tokens,
           cascaded = t.cascaded + excluded.cascaded,
           caller_failed = t.caller_failed + excluded.caller_failed,
           skewed = t.skewed + excluded.skewed;

    insert into node_total as t select * from unnest(node_totals)
    on conflict (source_partition, graph_id, node_id) do update
       set position_offset = excluded.position_offset,
           position_index = excluded.position_index,
           newest = greatest(t.newest, excluded.newest),
           added = t.added + excluded.added,
           added_failed = t.added_failed + excluded.added_failed,
           ended = t.ended + excluded.ended,
           failed = t.failed + excluded.failed,
           terminated = t.terminated + excluded.terminated,
           duration_ms = t.duration_ms + excluded.duration_ms,
           cost = t.cost + excluded.cost,
           tokens = t.tokens + excluded.tokens,
           cascaded = t.cascaded + excluded.cascaded,
           caller_failed = t.caller_failed + excluded.caller_failed,
           skewed = t.skewed + excluded.skewed;
    return false;
end $$;
