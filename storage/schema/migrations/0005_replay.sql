-- What a schema that is being rebuilt knows of its rebuilding. Both tables are empty in others.

-- By partition of the commands topic, in Kafka's offsets: from where commands are read, and
-- where to end (null: wherever the live schema is). Before `from_offset` comes what the journal
-- of the live schema has.
create table replay_plan (
    partition integer primary key,
    source text not null,
    base bigint not null,
    from_offset bigint not null,
    until_offset bigint
);

-- Indexes that are made again when all rows are there.
create table replay_index (
    definition text primary key
);
