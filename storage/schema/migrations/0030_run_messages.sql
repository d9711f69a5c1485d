-- Ends of runs on their way to the webhook: written with the totals that count them, and kept for some
-- days after. `at`: when the row was written; `next_try_at` is null when nothing is left to send.
create table run_message (
    graph_exec_id uuid not null,
    seq bigint not null,
    status text not null,
    graph_id text not null,
    user_id text not null,
    dry_run boolean not null,
    ended_at timestamptz not null,
    at timestamptz not null default now(),
    next_try_at timestamptz default now(),
    tries integer not null default 0,
    delivered_at timestamptz,
    last_error text,
    primary key (graph_exec_id, seq)
);

create index run_message_due on run_message (next_try_at) where next_try_at is not null;
create index run_message_at on run_message (at);
