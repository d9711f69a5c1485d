-- Failures and seconds of each block by day: duckdb -f failures_by_block.sql
-- The steps come from `execstream export steps --to tables`.
select day, block_id,
       count(*) as ended,
       count(*) filter (where status = 'FAILED') as failed,
       round(quantile_cont(seconds, 0.95), 3) as p95_seconds,
       sum(cost) as cost
  from read_parquet('tables/steps/*/*.parquet', hive_partitioning = true)
 where not dry_run and imported = ''
 group by day, block_id
 order by day, failed desc, block_id;
