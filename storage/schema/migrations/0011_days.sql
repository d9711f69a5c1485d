-- A run that was dated ahead leaves rows in the default partitions; when its day comes, they must not
-- send everybody's rows of the day there.
create or replace function ensure_day(day date) returns void language plpgsql as $$
declare
    parent text;
    child text;
    large text[];
    movable boolean;
begin
    perform pg_advisory_xact_lock(hashtext('execstream.ensure_day'));
    foreach parent in array array['node_execution', 'journal'] loop
        child := format('%s_%s', parent, to_char(day, 'YYYYMMDD'));
        continue when to_regclass(child) is not null;
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
