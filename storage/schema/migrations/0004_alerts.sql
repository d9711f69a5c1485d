-- Alerts, and what is to be told of them: messages are written with the change they tell and kept
-- until they have arrived.

create table alert (
    id bigint generated always as identity primary key,
    subject text not null,
    kind text not null,
    severity text not null,
    block_id text,
    error_class text,
    graph_exec_id uuid,
    figures jsonb not null,
    opened_at timestamptz not null default now(),
    -- Since when it has been well again; it is over after some time of that.
    calm_since timestamptz,
    closed_at timestamptz,
    acknowledged_at timestamptz,
    acknowledged_by text,
    silenced_until timestamptz
);

create unique index alert_open on alert (subject) where closed_at is null;
create index alert_silenced on alert (subject, silenced_until) where silenced_until is not null;

-- `next_try_at`: of the webhook; null when there is nothing, or nothing more, to send to it.
create table alert_message (
    id bigint generated always as identity primary key,
    alert_id bigint not null references alert on delete cascade,
    type text not null,
    at timestamptz not null default now(),
    alert jsonb not null,
    published_at timestamptz,
    next_try_at timestamptz,
    tries integer not null default 0,
    delivered_at timestamptz,
    last_error text
);

create index alert_message_alert on alert_message (alert_id, id);
create index alert_message_unpublished on alert_message (id) where published_at is null;
create index alert_message_due on alert_message (next_try_at) where next_try_at is not null;
