-- Steps that ended at a time more than an hour ahead of the append time of their record: no other
-- figure of their end has them. What was counted until now stays as it was counted.
alter table block_minute add column skewed bigint not null default 0;
alter table node_day add column skewed bigint not null default 0;
alter table block_total add column skewed bigint not null default 0;
alter table node_total add column skewed bigint not null default 0;

-- One batch of events and the offsets after it. The published position of the consumer is the
-- source of the last event that was counted: what is not greater was counted before.
create or replace function commit_tally(
    of_consumer text,
    of_topic text,
    moves progress[],
    blocks block_minute[],
    nodes node_day[],
    graphs graph_minute[],
    users user_day[],
    errors block_error[],
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

    insert into block_error as t select * from unnest(errors)
    on conflict (hour, source_partition, block_id, fingerprint) do update
       set failures = t.failures + excluded.failures,
           graph_exec_id = excluded.graph_exec_id,
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
