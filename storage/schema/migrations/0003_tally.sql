-- Totals of blocks, nodes, graphs and users: sums over events, written together with the offset
-- up to which they hold. Rows carry their source partition; a total is the sum over partitions.

-- What adds up. Sums of what producers say have no limit: an overflow would stop a partition.
create table block_minute (
    minute timestamptz not null,
    source_partition integer not null,
    block_id text not null,
    added bigint not null,
    added_failed bigint not null,
    ended bigint not null,
    failed bigint not null,
    terminated bigint not null,
    duration_ms numeric not null,
    cost numeric not null,
    tokens numeric not null,
    -- Durations by bucket: streams/totals/histogram.py tells which duration is in which.
    histogram jsonb not null,
    error_classes jsonb not null,
    primary key (minute, source_partition, block_id)
) with (fillfactor = 50);

create index block_minute_block on block_minute (block_id, minute);

-- Error rates over days, without reading every minute.
create table block_hour (
    hour timestamptz not null,
    source_partition integer not null,
    block_id text not null,
    added bigint not null,
    added_failed bigint not null,
    primary key (hour, source_partition, block_id)
) with (fillfactor = 50);

create table node_day (
    day date not null,
    source_partition integer not null,
    graph_id text not null,
    node_id text not null,
    added bigint not null,
    added_failed bigint not null,
    ended bigint not null,
    failed bigint not null,
    terminated bigint not null,
    duration_ms numeric not null,
    cost numeric not null,
    tokens numeric not null,
    primary key (day, source_partition, graph_id, node_id)
) with (fillfactor = 50);

create index node_day_graph on node_day (graph_id, day);

-- Moves of runs; `incomplete` are those that were created.
create table graph_minute (
    minute timestamptz not null,
    source_partition integer not null,
    graph_id text not null,
    incomplete bigint not null,
    queued bigint not null,
    running bigint not null,
    completed bigint not null,
    terminated bigint not null,
    failed bigint not null,
    review bigint not null,
    primary key (minute, source_partition, graph_id)
) with (fillfactor = 50);

create index graph_minute_graph on graph_minute (graph_id, minute);

create table user_day (
    day date not null,
    source_partition integer not null,
    user_id text not null,
    ended bigint not null,
    failed bigint not null,
    cost numeric not null,
    tokens numeric not null,
    primary key (day, source_partition, user_id)
) with (fillfactor = 50);

create index user_day_user on user_day (user_id, day);

-- Errors by fingerprint (streams/totals/error_classes.py), with the last step that failed so.
create table block_error (
    hour timestamptz not null,
    source_partition integer not null,
    block_id text not null,
    fingerprint text not null,
    class text not null,
    masked text not null,
    failures bigint not null,
    graph_exec_id uuid not null,
    node_exec_id uuid not null,
    last_at timestamptz not null,
    primary key (hour, source_partition, block_id, fingerprint)
) with (fillfactor = 50);

create index block_error_block on block_error (block_id, hour);

-- All of a block's minutes and of a node's days together, which the live tables begin with:
-- adding them up at every start would take longer with every day. `position_…` is the source of
-- the last event in it: what a live table has not published yet is found by it.
create table block_total (
    source_partition integer not null,
    block_id text not null,
    position_offset bigint not null,
    position_index integer not null,
    newest timestamptz not null,
    added bigint not null,
    added_failed bigint not null,
    ended bigint not null,
    failed bigint not null,
    terminated bigint not null,
    duration_ms numeric not null,
    cost numeric not null,
    tokens numeric not null,
    primary key (source_partition, block_id)
) with (fillfactor = 50);

create table node_total (
    source_partition integer not null,
    graph_id text not null,
    node_id text not null,
    position_offset bigint not null,
    position_index integer not null,
    newest date not null,
    added bigint not null,
    added_failed bigint not null,
    ended bigint not null,
    failed bigint not null,
    terminated bigint not null,
    duration_ms numeric not null,
    cost numeric not null,
    tokens numeric not null,
    primary key (source_partition, graph_id, node_id)
) with (fillfactor = 50);

-- The sum of two objects of counts.
create function add_counts(a jsonb, b jsonb) returns jsonb
language sql immutable parallel safe as $$
    select case
        when a = '{}' then b
        when b = '{}' then a
        else (select jsonb_object_agg(key, count)
                from (select key, sum(value::bigint) as count
                        from (select * from jsonb_each_text(a)
                              union all
                              select * from jsonb_each_text(b)) as both_of_them
                       group by key) as summed)
    end
$$;

create aggregate sum_counts(jsonb) (
    sfunc = add_counts, stype = jsonb, initcond = '{}', parallel = safe, combinefunc = add_counts
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
           tokens = t.tokens + excluded.tokens;

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
           tokens = t.tokens + excluded.tokens;

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
           tokens = t.tokens + excluded.tokens;
    return false;
end $$;
