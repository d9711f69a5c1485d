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

-- One batch of the catalogue; what is taken away is not among what is defined.
create function commit_catalogue(
    of_consumer text,
    of_topic text,
    moves progress[],
    blocks block[],
    graphs graph[],
    blocks_gone text[],
    graphs_gone graph[]
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
end $$;
