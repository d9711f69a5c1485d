-- Partitions of days are made and dropped with the rights of the owner of the schema, so that workers
-- need no right to create or drop anything. Who may call these functions: `execstream migrate`.

-- The search path is neither the caller's, who could put other tables before ours, nor a name, which
-- a swap gives to another schema: it is the schema that the function is in.
create or replace function ensure_day(day date) returns void language plpgsql security definer
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

create or replace function trim_day(day date, at timestamptz) returns bigint language plpgsql security definer
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

revoke all on function ensure_day(date), trim_day(date, timestamptz) from public;
