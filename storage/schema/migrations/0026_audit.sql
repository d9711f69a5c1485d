-- Acts of operators and of tokens, each written when it is done. Texts are cut by their writer.
create table audit (
    id bigint generated always as identity primary key,
    at timestamptz not null default now(),
    actor text not null check (length(actor) <= 128),
    user_id text,
    origin text not null check (length(origin) <= 200),
    act text not null check (length(act) <= 64),
    subject text not null check (length(subject) <= 300),
    outcome text not null check (length(outcome) <= 200)
);

create index audit_at on audit (at);
create index audit_user on audit (user_id) where user_id is not null;
create index audit_subject on audit (subject);
