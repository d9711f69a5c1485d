-- contract: workers of role apply of 0.1.0 commit nothing from then on.

-- Attributes of runs: texts by key that their creator chose.
alter table graph_execution add column attributes jsonb;

-- Workers of this release may have applied commands before this; the journal has the attributes.
-- Runs that are dated earlier than two days before have theirs from `verify --all --mend`.
update graph_execution run set attributes = entry.detail -> 'attributes'
  from journal entry
 where entry.graph_exec_id = run.id and entry.seq = 1 and entry.detail ? 'attributes'
   and entry.run_day = (run.created_at at time zone 'UTC')::date
   and entry.run_day >= (select (max(applied_at) at time zone 'UTC')::date - 2 from migration);

-- By attributes; they never change, so that updates of a run stay out of the index.
create index graph_execution_attributes on graph_execution using gin (attributes jsonb_path_ops)
    where attributes is not null;

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

create or replace view runs as
select r.id as graph_exec_id, r.user_id, r.graph_id, r.graph_version, g.name as graph_name,
       r.status, r.dry_run, r.preset_id, r.parent_graph_exec_id, r.created_at, r.started_at,
       r.ended_at, r.updated_at, extract(epoch from r.ended_at - r.started_at) as seconds,
       cost_of(r.stats) as cost, r.stats ->> 'error' as error, r.last_seq, r.attributes
  from graph_execution r
  left join graph g on g.id = r.graph_id and g.version = r.graph_version
 where not r.is_deleted;
