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
       cost_of(r.stats) as cost, r.stats ->> 'error' as error, r.last_seq
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
