-- The whole schema, as all migrations together make it: to be read. A test compares the two;
-- `execstream migrate` applies the migrations, never this file.

create table migration (
    version integer primary key,
    name text not null,
    applied_at timestamptz not null default now()
);

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
    trimmed_at timestamptz,
    attributes jsonb
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
-- Long and dear runs, once they have ended.
create index graph_execution_duration on graph_execution ((ended_at - started_at))
    where ended_at is not null and not is_deleted;
create index graph_execution_cost on graph_execution (
    (case when jsonb_typeof(stats -> 'cost') = 'number' then
        case when (stats -> 'cost')::numeric
                  between -9223372036854775808 and 9223372036854775807
             then trunc((stats -> 'cost')::numeric) else 0 end
        else 0 end)
) where ended_at is not null and not is_deleted;
-- By attributes; they never change, so that updates of a run stay out of the index.
create index graph_execution_attributes on graph_execution using gin (attributes jsonb_path_ops)
    where attributes is not null;
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

-- Limits of cost in cents, from the catalogue topic.
create table budget (
    id text primary key,
    per text not null,
    cost bigint not null,
    action text not null,
    graph_id text,
    user_id text
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
    quarantined bigint not null default 0,
    primary key (consumer, topic, partition)
) with (fillfactor = 50);

-- Give `day` partitions of its own. Attaching, unlike creating in place, does not stop readers.
create function ensure_day(day date) returns void language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    own oid;
    parent text;
    child text;
    large text[];
    movable boolean;
begin
    get diagnostics own = pg_routine_oid;
    perform set_config('search_path', format('%I, pg_temp', n.nspname), true)
       from pg_proc p join pg_namespace n on n.oid = p.pronamespace where p.oid = own;
    perform pg_advisory_xact_lock(hashtext('execstream.ensure_day'));
    foreach parent in array array['node_execution', 'journal'] loop
        child := format('%s_%s', parent, to_char(day, 'YYYYMMDD'));
        continue when to_regclass(format('%I.%I', current_schema(), child)) is not null;
        large := case parent when 'journal' then array['data', 'detail']
                             else array['execution_data', 'stats'] end;
        -- In the order of a commit; writers wait while rows move, so not many may.
        execute format('lock table %I in access exclusive mode', parent || '_other');
        execute format('select count(*) <= 10000 and coalesce(sum(size), 0) <= 67108864
                          from (select coalesce(pg_column_size(%I), 0)
                                     + coalesce(pg_column_size(%I), 0) as size
                                  from %I where run_day = $1 limit 10001) as waiting',
                       large[1], large[2], parent || '_other') into movable using day;
        if not movable then
            raise exception 'too many rows of % to be moved', day using errcode = 'check_violation';
        end if;
        execute format('create table %I (like %I including all)', child, parent);
        execute format('with moved as (delete from %I where run_day = $1 returning *)
                        insert into %I select * from moved', parent || '_other', child) using day;
        execute format('alter table %I attach partition %I for values from (%L) to (%L)',
                       parent, child, day, day + 1);
        if parent = 'node_execution' then
            execute format('alter table %I set (fillfactor = 70)', child);
        end if;
    end loop;
end $$;
-- Taking partitions over, and committing a batch behind the fence.

-- Progress of one partition in one batch. `epoch` and `expected` are the fence.
create type progress as (
    partition integer,
    expected bigint,
    epoch bigint,
    next bigint,
    published_offset bigint,
    published_index integer,
    applied bigint,
    duplicate bigint,
    refused bigint,
    dead bigint
);

-- Take over partitions: whoever held them before is fenced off by the raised epoch.
create function claim(of_consumer text, of_topic text, partitions integer[], earliest bigint[])
returns setof consumer_offset language sql as $$
    insert into consumer_offset as c (consumer, topic, partition, next_offset, epoch)
    select of_consumer, of_topic, p, first, 1
      from unnest(partitions, earliest) as x(p, first)
     order by p
    on conflict (consumer, topic, partition) do update set epoch = c.epoch + 1
    returning *
$$;

-- Move the offsets if all of them stand where they are expected and the epochs are ours.
-- True: go on and write. False: the same move was made before, its answer got lost.
-- Anything else raises: a batch takes effect as a whole or not at all.
create function advance(of_consumer text, of_topic text, moves progress[])
returns boolean language plpgsql as $$
declare
    moved integer;
begin
    -- One order for everybody, so that two workers cannot deadlock.
    perform 1 from consumer_offset c
      where c.consumer = of_consumer and c.topic = of_topic
        and c.partition in (select m.partition from unnest(moves) m)
      order by c.partition for update;
    update consumer_offset c
       set next_offset = m.next,
           published_offset = case when (m.published_offset, m.published_index)
                                      > (c.published_offset, c.published_index)
                                   then m.published_offset else c.published_offset end,
           published_index = case when (m.published_offset, m.published_index)
                                     > (c.published_offset, c.published_index)
                                  then m.published_index else c.published_index end,
           applied = c.applied + m.applied,
           duplicate = c.duplicate + m.duplicate,
           refused = c.refused + m.refused,
           dead = c.dead + m.dead
      from unnest(moves) m
     where c.consumer = of_consumer and c.topic = of_topic and c.partition = m.partition
       and c.next_offset = m.expected and c.epoch = m.epoch;
    get diagnostics moved = row_count;
    if moved = cardinality(moves) then
        return true;
    end if;
    if moved = 0 and not exists (
        select 1 from unnest(moves) m
          left join consumer_offset c
            on c.consumer = of_consumer and c.topic = of_topic and c.partition = m.partition
         where (c.next_offset, c.epoch) is distinct from (m.next, m.epoch)
    ) then
        return false;
    end if;
    raise exception 'fenced: another worker has taken partitions of % over', of_topic
        using errcode = 'XF001';
end $$;

-- One batch of commands: rows, journal, refusals, dead letters and offsets together.
-- Returns whether it was there already.
create function commit_commands(
    of_consumer text,
    of_topic text,
    moves progress[],
    runs graph_execution[],
    erased uuid[],
    steps node_execution[],
    entries journal[],
    key_values kv_journal[],
    refusals refusal[],
    dead_letters dead_letter[]
) returns boolean language plpgsql as $$
declare
    written integer;
begin
    if not advance(of_consumer, of_topic, moves) then
        return true;
    end if;

    if cardinality(runs) > 0 then
        insert into graph_execution as g select * from unnest(runs)
        on conflict (id) do update
           set status = excluded.status,
               stats = coalesce(excluded.stats, g.stats),
               is_deleted = excluded.is_deleted,
               is_shared = excluded.is_shared,
               share_token_hash = excluded.share_token_hash,
               shared_at = excluded.shared_at,
               started_at = excluded.started_at,
               ended_at = excluded.ended_at,
               updated_at = excluded.updated_at,
               last_seq = excluded.last_seq
         where g.source_partition = excluded.source_partition
           and g.last_seq < excluded.last_seq
           -- Trimmed since its state was loaded: the steps of that state are gone.
           and g.trimmed_at is not distinct from excluded.trimmed_at;
        get diagnostics written = row_count;
        if written <> cardinality(runs) then
            raise exception 'a run was created elsewhere or trimmed meanwhile' using errcode = 'XF002';
        end if;
    end if;

    if cardinality(erased) > 0 then
        delete from node_execution where graph_exec_id = any (erased);
        delete from journal where graph_exec_id = any (erased);
        update graph_execution
           set inputs = null, credential_inputs = null, nodes_input_masks = null, stats = null,
               attributes = null
         where id = any (erased);
    end if;

    if cardinality(steps) > 0 then
        insert into node_execution as n select * from unnest(steps)
        on conflict (graph_exec_id, id, run_day) do update
           set status = excluded.status,
               execution_data = coalesce(excluded.execution_data, n.execution_data),
               stats = coalesce(excluded.stats, n.stats),
               queued_time = excluded.queued_time,
               started_time = excluded.started_time,
               ended_time = excluded.ended_time;
    end if;

    if cardinality(entries) > 0 then
        insert into journal select * from unnest(entries);
    end if;

    if cardinality(key_values) > 0 then
        insert into kv_journal select * from unnest(key_values);
        -- The newest of the batch; what is stored already is never newer (the rules saw to it).
        insert into kv_data as k (user_id, key, node_exec_id, data, updated_at)
        select distinct on (user_id, key) user_id, key, node_exec_id, data, at
          from unnest(key_values)
         order by user_id, key, at desc, source_offset desc
        on conflict (user_id, key) do update
           set node_exec_id = excluded.node_exec_id, data = excluded.data,
               updated_at = excluded.updated_at
         where k.updated_at <= excluded.updated_at;
    end if;

    if cardinality(refusals) > 0 then
        insert into refusal select * from unnest(refusals);
    end if;
    if cardinality(dead_letters) > 0 then
        insert into dead_letter select * from unnest(dead_letters);
    end if;
    return false;
end $$;

-- One batch of the catalogue; what is taken away is not among what is defined.
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
-- Totals of blocks, nodes, graphs and users: sums over events, written together with the offset
-- up to which they hold. Rows carry their source partition; a total is the sum over partitions.

-- What adds up. Sums of what producers say have no limit: an overflow would stop a partition.
-- `failed` leaves out steps that the end of their run ended (`cascaded`), and those that failed
-- because of a child run; `caller_failed` are those of `failed` that the caller's input or
-- credentials caused. Steps that ended at a time more than an hour ahead of the append time of their
-- record are in none of them (`skewed`).
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
    cascaded bigint not null default 0,
    caller_failed bigint not null default 0,
    skewed bigint not null default 0,
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
    cascaded bigint not null default 0,
    caller_failed bigint not null default 0,
    skewed bigint not null default 0,
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

-- The errors of each run, with the last step that failed so.
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

-- Costs of steps that budgets are judged by, without those of dry runs and imported ones; `per` and
-- `subject`: a run, or a user or graph on that day. A run of several days has a row for each.
create table spending (
    day date not null,
    source_partition integer not null,
    per text not null,
    subject text not null,
    cost numeric not null,
    primary key (day, source_partition, per, subject)
) with (fillfactor = 50);

create index spending_subject on spending (per, subject, day);

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
    cascaded bigint not null default 0,
    caller_failed bigint not null default 0,
    skewed bigint not null default 0,
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
    cascaded bigint not null default 0,
    caller_failed bigint not null default 0,
    skewed bigint not null default 0,
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
-- Alerts, and what is to be told of them: messages are written with the change they tell and kept
-- until they have arrived.

create table alert (
    id bigint generated always as identity primary key,
    subject text not null,
    kind text not null,
    severity text not null,
    block_id text,
    error_class text,
    graph_exec_id uuid,
    figures jsonb not null,
    opened_at timestamptz not null default now(),
    -- Since when it has been well again; it is over after some time of that.
    calm_since timestamptz,
    closed_at timestamptz,
    acknowledged_at timestamptz,
    acknowledged_by text,
    silenced_until timestamptz
);

create unique index alert_open on alert (subject) where closed_at is null;
create index alert_silenced on alert (subject, silenced_until) where silenced_until is not null;
-- Whether there was one of a budget before, open or not.
create index alert_budget on alert (subject) where kind = 'budget';

-- `next_try_at`: of the webhook; null when there is nothing, or nothing more, to send to it.
create table alert_message (
    id bigint generated always as identity primary key,
    alert_id bigint not null references alert on delete cascade,
    type text not null,
    at timestamptz not null default now(),
    alert jsonb not null,
    published_at timestamptz,
    next_try_at timestamptz,
    tries integer not null default 0,
    delivered_at timestamptz,
    last_error text
);

create index alert_message_alert on alert_message (alert_id, id);
create index alert_message_unpublished on alert_message (id) where published_at is null;
create index alert_message_due on alert_message (next_try_at) where next_try_at is not null;
-- Ends of runs on their way to the webhook: written with the totals that count them.
create table run_message (
    graph_exec_id uuid not null,
    seq bigint not null,
    status text not null,
    graph_id text not null,
    user_id text not null,
    dry_run boolean not null,
    ended_at timestamptz not null,
    at timestamptz not null default now(),
    next_try_at timestamptz default now(),
    tries integer not null default 0,
    delivered_at timestamptz,
    last_error text,
    primary key (graph_exec_id, seq)
);

create index run_message_due on run_message (next_try_at) where next_try_at is not null;
create index run_message_at on run_message (at);

-- Tokens of the HTTP server. Only the hash of a secret is here: it has 256 random bits, so that
-- nobody finds it from the hash.
create table token (
    id bigint generated always as identity primary key,
    hash text not null unique check (hash ~ '^[0-9a-f]{64}$'),
    name text not null check (name ~ '^[A-Za-z0-9_.:@|-]{1,128}$'),
    scopes text[] not null check (scopes <@ array['read', 'write', 'operate', 'admin']),
    user_id text,
    created_by text not null check (length(created_by) <= 128),
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz,
    constraint token_of_user check (user_id is null or scopes <@ array['read', 'write'])
);

create unique index token_name on token (name) where revoked_at is null;
create index token_user on token (user_id) where user_id is not null;
-- Acts of operators and of tokens, each written when it is done. Texts are cut by their writer.
create table audit (
    id bigint generated always as identity primary key,
    at timestamptz not null default now(),
    actor text not null check (length(actor) <= 128),
    user_id text,
    origin text not null check (length(origin) <= 200),
    act text not null check (length(act) <= 64),
    subject text not null check (length(subject) <= 300),
    outcome text not null check (length(outcome) <= 200)
);

create index audit_at on audit (at);
create index audit_user on audit (user_id) where user_id is not null;
create index audit_subject on audit (subject);
-- What a schema that is being rebuilt knows of its rebuilding. Both tables are empty in others.

-- By partition of the commands topic, in Kafka's offsets: from where commands are read, and
-- where to end (null: wherever the live schema is). Before `from_offset` comes what the journal
-- of the live schema has.
create table replay_plan (
    partition integer primary key,
    source text not null,
    base bigint not null,
    from_offset bigint not null,
    until_offset bigint
);

-- Indexes that are made again when all rows are there.
create table replay_index (
    definition text primary key
);
-- How far the archive is: rows by partition, written by `execstream archive`.
create table archived (
    topic text not null,
    partition integer not null,
    next_offset bigint not null,
    base bigint not null,
    folder text not null,
    archived_at timestamptz not null,
    primary key (topic, partition)
);

-- Whether the journal of `day` has entries of commands that the archive, if there is one, lacks.
create function day_is_unarchived(day date) returns boolean language sql stable as $$
    select exists (
        select from archived a
          join consumer_offset c
            on (c.consumer, c.topic, c.partition) = ('apply', a.topic, a.partition)
         where exists (
            select from journal j
             where j.run_day = day and j.source_partition = a.partition
               and j.source_offset >= a.next_offset + a.base
        )
    )
$$;
-- Retention: what has ended long ago keeps its row, and loses its journal and steps.

-- Drop the partitions of `day`, if every run of it has ended, and everybody who reads the journal
-- has read all of it. Returns how many runs were trimmed; null, and nothing changes, when the day
-- must stay. Waits for writers no longer than the caller's lock_timeout.
create function trim_day(day date, at timestamptz) returns bigint language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    own oid;
    trimmed bigint;
    parent text;
    child text;
begin
    get diagnostics own = pg_routine_oid;
    perform set_config('search_path', format('%I, pg_temp', n.nspname), true)
       from pg_proc p join pg_namespace n on n.oid = p.pronamespace where p.oid = own;
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
        if to_regclass(format('%I.%I', current_schema(), child)) is not null then
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

-- Whether the journal of `day` has events that are not known to be published, or not counted yet.
create function day_is_unread(day date) returns boolean language sql stable as $$
    select exists (
        select from (
            select source_partition, max(source_offset) as newest
              from journal where run_day = day group by source_partition
        ) said
        where exists (
            select from (values ('apply'), ('tally')) reader (name)
              left join consumer_offset c
                on c.consumer = reader.name and c.partition = said.source_partition
             where coalesce(c.published_offset, -1) < said.newest
        )
    )
$$;
-- Refusals are never trimmed: pages of them, newest first, must not sort all there are.

create index refusal_newest on refusal (at, source_partition, source_offset);
create index refusal_user on refusal (user_id, at, source_partition, source_offset);

-- By which definition (streams/totals/definitions.py), and which class rules of a file, a partition
-- is counted after a source: a recount goes by it.
create table totals_definition (
    source_partition integer not null,
    after_offset bigint not null,
    after_index integer not null,
    version integer not null,
    rules jsonb not null,
    since timestamptz not null default now(),
    primary key (source_partition, after_offset, after_index)
);

-- Quarantine: records that were set aside because applying them fails, and those parked behind them.

create table quarantine (
    topic text not null,
    partition integer not null,
    "offset" bigint not null,
    key bytea,
    value bytea,
    headers jsonb not null,
    bytes bigint not null,
    reason text not null,
    detail jsonb not null,
    command_id uuid,
    user_id text,
    received_at timestamptz not null,
    set_aside_at timestamptz not null default clock_timestamp(),
    released_at timestamptz,
    released_by bigint,
    primary key (topic, partition, "offset")
);

create index quarantine_open on quarantine (topic, partition, "offset") where released_at is null;
create index quarantine_command on quarantine (command_id);

-- Where workers began, by partition, and the tries of a suspect record. Commits do not write here.
create table apply_attempt (
    topic text not null,
    partition integer not null,
    "offset" bigint not null,
    takeovers integer not null,
    tries integer not null default 0,
    primary key (topic, partition)
);

-- A worker begins to apply `partitions` at `offsets`: in how many take-overs in a row each began
-- there, this one included, and how often the record there was tried alone.
create function begin_applying(of_topic text, partitions integer[], offsets bigint[])
returns setof apply_attempt language sql as $$
    insert into apply_attempt as a (topic, partition, "offset", takeovers)
    select of_topic, p, o, 1
      from unnest(partitions, offsets) as x(p, o)
     order by p
    on conflict (topic, partition) do update
       set "offset" = excluded."offset",
           takeovers = case when a."offset" = excluded."offset" then a.takeovers + 1 else 1 end,
           tries = case when a."offset" = excluded."offset" then a.tries else 0 end
    returning *
$$;

-- A record is about to be tried alone: how often it was before, and now.
create function begin_try(of_topic text, of_partition integer, of_offset bigint)
returns integer language sql as $$
    insert into apply_attempt as a (topic, partition, "offset", takeovers, tries)
    values (of_topic, of_partition, of_offset, 1, 1)
    on conflict (topic, partition) do update
       set "offset" = excluded."offset",
           takeovers = case when a."offset" = excluded."offset" then a.takeovers else 1 end,
           tries = case when a."offset" = excluded."offset" then a.tries + 1 else 1 end
    returning tries
$$;

-- Whether commands of a run wait in quarantine.
create function is_in_quarantine(run_id uuid) returns boolean language sql stable as $$
    select exists (
        select from quarantine
         where released_at is null and key = convert_to(run_id::text, 'UTF8')
    )
$$;
-- Views for people and tools that read by SQL.

-- Producers may store any JSON as cost: a value that is no number, or beyond a bigint, counts as 0.
create function cost_of(stats jsonb) returns numeric language sql immutable parallel safe as $$
    select case when jsonb_typeof(stats -> 'cost') = 'number'
                 and (stats ->> 'cost')::numeric
                     between -9223372036854775808 and 9223372036854775807
                then trunc((stats ->> 'cost')::numeric) else 0 end
$$;

create view runs as
select r.id as graph_exec_id, r.user_id, r.graph_id, r.graph_version, g.name as graph_name,
       r.status, r.dry_run, r.preset_id, r.parent_graph_exec_id, r.created_at, r.started_at,
       r.ended_at, r.updated_at, extract(epoch from r.ended_at - r.started_at) as seconds,
       cost_of(r.stats) as cost, r.stats ->> 'error' as error, r.last_seq, r.attributes
  from graph_execution r
  left join graph g on g.id = r.graph_id and g.version = r.graph_version
 where not r.is_deleted;

create view steps as
select s.id as node_exec_id, s.graph_exec_id, s.run_day, r.user_id, r.graph_id, r.graph_version,
       g.name as graph_name, r.dry_run, s.node_id, s.block_id, b.name as block_name, b.block_type,
       s.status, s.added_seq, s.added_time, s.queued_time, s.started_time, s.ended_time,
       extract(epoch from s.ended_time - s.started_time) as seconds,
       cost_of(s.stats) as cost, s.stats ->> 'error' as error
  from node_execution s
  join graph_execution r on r.id = s.graph_exec_id
  left join block b on b.id = s.block_id
  left join graph g on g.id = r.graph_id and g.version = r.graph_version
 where not r.is_deleted;

create view block_rates as
select t.*, b.name as block_name, b.block_type,
       round(failed / nullif(ended, 0), 6) as error_rate,
       round(duration_ms / nullif(ended, 0) / 1000, 6) as mean_seconds
  from (
    select minute, block_id, sum(added) as added, sum(ended) as ended, sum(failed) as failed,
           sum(caller_failed) as caller_failed, sum(cascaded) as cascaded, sum(skewed) as skewed,
           sum(terminated) as terminated, sum(duration_ms) as duration_ms, sum(cost) as cost,
           sum(tokens) as tokens
      from block_minute
     group by minute, block_id
  ) t
  left join block b on b.id = t.block_id;

create view graph_rates as
select t.*, g.name as graph_name,
       round(failed / nullif(completed + failed, 0), 6) as failure_rate
  from (
    select minute, graph_id, sum(incomplete) as created, sum(queued) as queued,
           sum(running) as running, sum(completed) as completed, sum(failed) as failed,
           sum(terminated) as terminated, sum(review) as review
      from graph_minute
     group by minute, graph_id
  ) t
  left join lateral (
    select name from graph where id = t.graph_id order by version desc limit 1
  ) g on true;

create view costs as
select day, 'user' as subject, user_id as id, null as name, sum(ended) as ended,
       sum(failed) as failed, sum(cost) as cost, sum(tokens) as tokens
  from user_day group by day, user_id
union all
select t.day, 'graph', t.graph_id, g.name, t.ended, t.failed, t.cost, t.tokens
  from (
    select day, graph_id, sum(ended) as ended, sum(failed) as failed, sum(cost) as cost,
           sum(tokens) as tokens
      from node_day group by day, graph_id
  ) t
  left join lateral (
    select name from graph where id = t.graph_id order by version desc limit 1
  ) g on true
union all
select t.day, 'block', t.block_id, b.name, t.ended, t.failed, t.cost, t.tokens
  from (
    select (minute at time zone 'UTC')::date as day, block_id, sum(ended) as ended,
           sum(failed) as failed, sum(cost) as cost, sum(tokens) as tokens
      from block_minute group by 1, block_id
  ) t
  left join block b on b.id = t.block_id;

-- Partitions are made and dropped with the rights of the owner, by those who have it from `migrate`.
revoke all on function ensure_day(date), trim_day(date, timestamptz) from public;
