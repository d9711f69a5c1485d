-- Budgets: limits of cost, and the costs that they are judged by. Costs
-- that were counted before have no rows in `spending`.
create table budget (
    id text primary key,
    per text not null,
    cost bigint not null,
    action text not null,
    graph_id text,
    user_id text
);

create table spending (
    day date not null,
    source_partition integer not null,
    per text not null,
    subject text not null,
    cost numeric not null,
    primary key (day, source_partition, per, subject)
) with (fillfactor = 50);

create index spending_subject on spending (per, subject, day);

create index alert_budget on alert (subject) where kind = 'budget';

drop function commit_catalogue(text, text, progress[], block[], graph[], text[], graph[]);

create function commit_catalogue(
    of_consumer text,
    of_topic text,
    moves progress[],
    blocks block[],
    graphs graph[],
    blocks_gone text[],
    graphs_gone graph[],
    budgets budget[],
    budgets_gone text[]
) returns void language plpgsql as $$
begin
    if not advance(of_consumer, of_topic, moves) then
        return;
    end if;
    insert into block select * from unnest(blocks)
    on conflict (id) do update
       set name = excluded.name, block_type = excluded.block_type;
    insert into graph select * from unnest(graphs)
    on conflict (id, version) do update
       set name = excluded.name, description = excluded.description;
    delete from block where id = any (blocks_gone);
    delete from graph g using unnest(graphs_gone) gone
     where g.id = gone.id and g.version = gone.version;
    insert into budget select * from unnest(budgets)
    on conflict (id) do update
       set per = excluded.per, cost = excluded.cost, action = excluded.action,
           graph_id = excluded.graph_id, user_id = excluded.user_id;
    delete from budget where id = any (budgets_gone);
end $$;

drop function commit_tally(
    text, text, progress[], block_minute[], node_day[], graph_minute[], user_day[], block_error[],
    integer[], boolean[], run_error[], integer[], uuid[], block_total[], node_total[]
);

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
    latest_of_runs integer[],
    erased uuid[],
    spent spending[],
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

    perform add_run_errors(run_errors, latest_of_runs);
    delete from run_error where graph_exec_id = any (erased);

    insert into spending as t select * from unnest(spent)
    on conflict (day, source_partition, per, subject) do update set cost = t.cost + excluded.cost;

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
