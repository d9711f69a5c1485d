-- Runs by their duration and their cost, for lists of long and of dear ones; of ended runs, so that
-- each is written once.
create index graph_execution_duration on graph_execution ((ended_at - started_at))
    where ended_at is not null and not is_deleted;
create index graph_execution_cost on graph_execution (
    (case when jsonb_typeof(stats -> 'cost') = 'number' then
        case when (stats -> 'cost')::numeric
                  between -9223372036854775808 and 9223372036854775807
             then trunc((stats -> 'cost')::numeric) else 0 end
        else 0 end)
) where ended_at is not null and not is_deleted;
