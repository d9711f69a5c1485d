# Run by the image of Postgres, while the database is new and accepts no connections yet, before
# roles.sql, which makes the other roles. May be run again: docs/deploy.md.
# The role `execstream` owns the database and is no superuser; the superuser loses its password, and
# so gets in by the socket in the container only.
psql --no-psqlrc --quiet --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
  --set ON_ERROR_STOP=1 --set superuser="$POSTGRES_USER" --set database="$POSTGRES_DB" <<'SQL'
\getenv execstream POSTGRES_PASSWORD
\getenv worker POSTGRES_WORKER_PASSWORD
\getenv server POSTGRES_SERVER_PASSWORD
select format('create role %I', name)
  from unnest(array['execstream', 'execstream_worker', 'execstream_server']) name
 where to_regrole(name) is null \gexec
alter role execstream login password :'execstream';
alter role execstream_worker login password :'worker';
alter role execstream_server login password :'server';
alter database :"database" owner to execstream;
alter role :"superuser" password null;
SQL
