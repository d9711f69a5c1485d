-- Tokens of the HTTP server. Only the hash of a secret is here: it has 256 random bits, so that
-- nobody finds it from the hash.
create table token (
    id bigint generated always as identity primary key,
    hash text not null unique check (hash ~ '^[0-9a-f]{64}$'),
    name text not null check (name ~ '^[A-Za-z0-9_.:@|-]{1,128}$'),
    scopes text[] not null check (scopes <@ array['read', 'write', 'operate', 'admin']),
    user_id text,
    created_by text not null check (length(created_by) <= 128),
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz,
    constraint token_of_user check (user_id is null or scopes <@ array['read', 'write'])
);

create unique index token_name on token (name) where revoked_at is null;
create index token_user on token (user_id) where user_id is not null;
