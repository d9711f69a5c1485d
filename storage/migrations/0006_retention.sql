-- Retention: what has ended long ago keeps its row, and loses its journal and steps.

-- Drop the partitions of `day`, if every run of it has ended, and everybody who reads the journal
-- has read all of it. Returns how many runs were trimmed; null, and nothing changes, when the day
-- must stay. Waits for writers no longer than the caller's lock_timeout.
create function trim_day(day date, at timestamptz) returns bigint language plpgsql as $$
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
       and status in ('COMPLETED', 'TERMINATED', 'FAILED');
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

-- One batch of commands: rows, journal, refusals, dead letters and offsets together.
-- Returns whether it was there already.
create or replace function commit_commands(
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
           set inputs = null, credential_inputs = null, nodes_input_masks = null, stats = null
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
