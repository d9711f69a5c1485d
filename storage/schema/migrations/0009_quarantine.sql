-- Quarantine: records that were set aside because applying them fails, and those parked behind them.

alter table consumer_offset add column quarantined bigint not null default 0;

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

-- As before, but a run with open records in quarantine has not ended.
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
    return trimmed;
end $$;

-- Whether commands of a run wait in quarantine.
create function is_in_quarantine(run_id uuid) returns boolean language sql stable as $$
    select exists (
        select from quarantine
         where released_at is null and key = convert_to(run_id::text, 'UTF8')
    )
$$;
