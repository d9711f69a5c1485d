-- Refusals are never trimmed: pages of them, newest first, must not sort all there are.

create index refusal_newest on refusal (at, source_partition, source_offset);
create index refusal_user on refusal (user_id, at, source_partition, source_offset);
