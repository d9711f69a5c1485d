-- The roles of Postgres, made once per server, in the name of a role that may make roles: a superuser,
-- or the owner of the schema with CREATEROLE. Their rights come from `execstream migrate`.
--
-- They cannot log in by themselves. Give one a password (alter role execstream_worker login password
-- '…'), or grant it to users of your own.
do $$
declare
    role text;
    -- The owner of the schema that statements are for; of the database, while there is no schema.
    owner regrole := coalesce(
        (select nspowner from pg_namespace
          where nspname = current_schema() and nspowner <> 'pg_database_owner'::regrole),
        (select datdba from pg_database where datname = current_database()));
begin
    foreach role in array array['execstream_worker', 'execstream_server', 'execstream_reader',
                                'execstream_analyst', 'execstream_viewer'] loop
        if to_regrole(role) is null then
            execute format('create role %I', role);
        end if;
    end loop;
    -- A swap ends the sessions of workers, and doctor looks at those of everybody.
    foreach role in array array['execstream_worker', 'execstream_server'] loop
        if not pg_has_role(owner, role, 'usage') then
            execute format('grant %I to %s with inherit true', role, owner);
        end if;
    end loop;
    -- The server takes the place of a viewer for a transaction, and has no right of it otherwise.
    foreach role in array array['execstream_server', owner::text] loop
        if not pg_has_role(role, 'execstream_viewer', 'set') then
            execute format('grant execstream_viewer to %s with inherit false, set true', role);
        end if;
    end loop;
end $$;
