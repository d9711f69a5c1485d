# Run once by the image of Postgres, while the database is new and accepts no connections yet.
# The role `execstream` owns the database and is no superuser; the superuser loses its password, and
# so gets in by the socket in the container only.
psql --no-psqlrc --quiet --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
  --set ON_ERROR_STOP=1 --set password="$POSTGRES_PASSWORD" --set superuser="$POSTGRES_USER" \
  --set database="$POSTGRES_DB" <<'SQL'
create role execstream login password :'password';
alter database :"database" owner to execstream;
alter role :"superuser" password null;
SQL
