-- Fingerprints of errors have no end where texts are made up: of a block, hour and source partition
-- the first 200 are kept apart. What was counted until now stays as it was counted.
drop function commit_tally(
    text, text, progress[], block_minute[], node_day[], graph_minute[], user_day[], block_error[],
    block_total[], node_total[]
);

-- Errors of a batch in the order in which each came first; `latest`: their order by when each came
-- last. Of a block, hour and source partition, the first 200 fingerprints have a row each. Those
-- behind them, where they are bounded, count as `other`.
create function add_errors(errors block_error[], latest integer[], are_bounded boolean[])
returns void language plpgsql as $$
begin
    with given as (
        select * from unnest(errors, latest, are_bounded) with ordinality as e
            (hour, source_partition, block_id, fingerprint, class, masked, failures,
             graph_exec_id, node_exec_id, last_at, last_place, is_bounded, place)
    ), new as (
        select hour, source_partition, block_id, fingerprint,
               row_number() over (partition by hour, source_partition, block_id order by place)
                   as number
          from given g
         where not exists (select from block_error t
                            where t.hour = g.hour and t.source_partition = g.source_partition
                              and t.block_id = g.block_id and t.fingerprint = g.fingerprint)
    ), stored as (
        select hour, source_partition, block_id,
               (select count(*) from block_error t
                 where t.hour = n.hour and t.source_partition = n.source_partition
                   and t.block_id = n.block_id and t.fingerprint <> 'other') as fingerprints
          from (select distinct hour, source_partition, block_id from new) as n
    ), placed as (
        select g.*, coalesce(g.is_bounded and s.fingerprints + n.number > 200, false) as is_other
          from given g
          left join new n using (hour, source_partition, block_id, fingerprint)
          left join stored s using (hour, source_partition, block_id)
    )
    insert into block_error as t
    select hour, source_partition, block_id,
           case when is_other then 'other' else fingerprint end,
           case when is_other then 'other' else class end,
           case when is_other then 'other errors' else masked end,
           sum(failures),
           (array_agg(graph_exec_id order by last_place desc))[1],
           (array_agg(node_exec_id order by last_place desc))[1],
           (array_agg(last_at order by last_place desc))[1]
      from placed
     group by 1, 2, 3, 4, 5, 6
     order by 1, 2, 3, 4
    on conflict (hour, source_partition, block_id, fingerprint) do update
       set failures = t.failures + excluded.failures,
           graph_exec_id = excluded.graph_exec_id,
           node_exec_id = excluded.node_exec_id,
           last_at = excluded.last_at;
end $$;

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
