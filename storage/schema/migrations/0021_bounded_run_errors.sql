-- Errors of runs are bounded by run, and go with its steps: when the run is erased, and when retention
-- drops its day.
drop function commit_tally(
    text, text, progress[], block_minute[], node_day[], graph_minute[], user_day[], block_error[],
    integer[], boolean[], run_error[], block_total[], node_total[]
);

-- Errors of runs in a batch in the order in which each came first; `latest`: their order by when each
-- came last. Of a run, the first 200 have a row each. All failures behind them are in one more row of
-- the run, whose hour is that of the first of them.
create function add_run_errors(errors run_error[], latest integer[])
returns void language plpgsql as $$
begin
    with given as (
        select * from unnest(errors, latest) with ordinality as e
            (hour, source_partition, graph_exec_id, block_id, fingerprint, class, failures,
             node_exec_id, last_at, last_place, place)
    ), new as (
        select hour, source_partition, graph_exec_id, block_id, fingerprint,
               row_number() over (partition by graph_exec_id order by place) as number
          from given g
         where not exists (select from run_error t
                            where t.hour = g.hour and t.source_partition = g.source_partition
                              and t.graph_exec_id = g.graph_exec_id and t.block_id = g.block_id
                              and t.fingerprint = g.fingerprint)
    ), stored as (
        select graph_exec_id, kept.*
          from (select distinct graph_exec_id from new) as n
         cross join lateral (
            select count(*) filter (where t.fingerprint <> 'other') as errors,
                   min(t.hour) filter (where t.fingerprint = 'other') as other_hour
              from run_error t where t.graph_exec_id = n.graph_exec_id) as kept
    ), placed as (
        select g.*, s.other_hour, coalesce(s.errors + n.number > 200, false) as is_other
          from given g
          left join new n using (hour, source_partition, graph_exec_id, block_id, fingerprint)
          left join stored s using (graph_exec_id)
    )
    insert into run_error as t
    select case when is_other then coalesce(min(other_hour), (array_agg(hour order by place))[1])
                else min(hour) end,
           source_partition, graph_exec_id,
           case when is_other then 'other' else block_id end,
           case when is_other then 'other' else fingerprint end,
           case when is_other then 'other' else class end,
           sum(failures),
           (array_agg(node_exec_id order by last_place desc))[1],
           (array_agg(last_at order by last_place desc))[1]
      from placed
     group by is_other, case when is_other then null else hour end,
              source_partition, graph_exec_id, 4, 5, 6
     order by 1, 2, 3, 4, 5
    on conflict (hour, source_partition, graph_exec_id, block_id, fingerprint) do update
       set failures = t.failures + excluded.failures,
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
    run_errors run_error[],
    latest_of_runs integer[],
    erased uuid[],
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

create or replace function trim_day(day date, at timestamptz) returns bigint language plpgsql as $$
declare
    trimmed bigint;
    parent text;
    child text;
begin
    -- Rows first, as a commit takes its locks: who is writing to one of these runs goes first, and
    -- who comes later finds it trimmed.
    update graph_execution set trimmed_at = at
     where created_at >= day::timestamp at time zone 'UTC'
       and created_at < (day + 1)::timestamp at time zone 'UTC'
       and status in ('COMPLETED', 'TERMINATED', 'FAILED')
       and not is_in_quarantine(id);
    get diagnostics trimmed = row_count;
    lock table only node_execution, only journal in access exclusive mode;
    if exists (
        select from graph_execution
         where created_at >= day::timestamp at time zone 'UTC'
           and created_at < (day + 1)::timestamp at time zone 'UTC'
           and trimmed_at is distinct from at
    ) or day_is_unread(day) then
        raise exception 'the day must stay' using errcode = 'XF003';
    end if;
    foreach parent in array array['node_execution', 'journal'] loop
        child := format('%s_%s', parent, to_char(day, 'YYYYMMDD'));
        if to_regclass(child) is not null then
            execute format('drop table %I', child);
        end if;
    end loop;
    delete from node_execution where run_day = day;  -- what had gone to the default partition
    delete from journal where run_day = day;
    delete from run_error where graph_exec_id in (
        select id from graph_execution
         where created_at >= day::timestamp at time zone 'UTC'
           and created_at < (day + 1)::timestamp at time zone 'UTC');
    return trimmed;
end $$;

-- What was counted so far: of runs that were erased or trimmed nothing stays. Of others 200 rows
-- stay, the earliest hours first; which of an hour came first is not known here, so that a recount
-- may find others among them.
delete from run_error e using graph_execution g
 where g.id = e.graph_exec_id and (g.trimmed_at is not null or g.is_deleted and g.inputs is null);

with numbered as (
    select e.*, row_number() over (partition by graph_exec_id
                                   order by hour, last_at, block_id, fingerprint) as number
      from run_error e
     where graph_exec_id in (select graph_exec_id from run_error group by 1 having count(*) > 200)
), gone as (
    delete from run_error e using numbered n
     where n.number > 200
       and (e.hour, e.source_partition, e.graph_exec_id, e.block_id, e.fingerprint)
           = (n.hour, n.source_partition, n.graph_exec_id, n.block_id, n.fingerprint)
)
insert into run_error
select (array_agg(hour order by number))[1], source_partition, graph_exec_id, 'other', 'other',
       'other', sum(failures), (array_agg(node_exec_id order by last_at desc, number desc))[1],
       max(last_at)
  from numbered where number > 200 group by source_partition, graph_exec_id;
