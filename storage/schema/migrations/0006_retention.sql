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
