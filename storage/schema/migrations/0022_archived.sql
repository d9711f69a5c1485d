-- How far the archive is: rows by partition, written by `execstream archive`.
create table archived (
    topic text not null,
    partition integer not null,
    next_offset bigint not null,
    base bigint not null,
    folder text not null,
    archived_at timestamptz not null,
    primary key (topic, partition)
);

-- Whether the journal of `day` has entries of commands that the archive, if there is one, lacks.
create function day_is_unarchived(day date) returns boolean language sql stable as $$
    select exists (
        select from archived a
          join consumer_offset c
            on (c.consumer, c.topic, c.partition) = ('apply', a.topic, a.partition)
         where exists (
            select from journal j
             where j.run_day = day and j.source_partition = a.partition
               and j.source_offset >= a.next_offset + a.base
        )
    )
$$;
