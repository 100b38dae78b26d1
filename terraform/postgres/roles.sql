do $$
-- Makes the two roles that the service signs in as, by IAM authentication, and gives one of
-- them the database and its tables. The master user runs it in that database. The second
-- time it changes nothing. It is one statement, so that it happens as a whole or not at all.
--
-- The master user has to be a member of a role to give it something, and must not stay one
-- of a member of rds_iam, which would end its own signing in with a password
-- (github.com/cyrilgdn/terraform-provider-postgresql/issues/289).
declare
    roles text[] = array['hello_owner', 'hello'];
    owners text[];
    name text;
    owner text;
begin
    if current_user = any (roles) then
        raise exception 'the master user must not be a role of the service';
    end if;
    -- No object of this database can stand in for one of the system.
    set local search_path to pg_catalog;

    foreach name in array roles loop
        if not exists (select from pg_roles where rolname = name) then
            execute format('create role %I login', name);
        end if;
    end loop;

    -- In a restored database anybody may be an owner.
    select array_agg(distinct role) into owners
    from (
        select 'hello_owner' as role
        union all select pg_get_userbyid(datdba) from pg_database where datname = current_database()
        union all select tableowner from pg_tables where schemaname = 'public'
    ) as found
    where role <> current_user;
    foreach owner in array owners loop
        execute format('grant %I to current_user', owner);
    end loop;

    execute format('alter database %I owner to hello_owner', current_database());
    alter default privileges for role hello_owner grant select, insert, update on tables to hello;
    -- Users are copied out of a restored cluster as the master user.
    execute format('alter default privileges for role hello_owner grant select on tables to %I', current_user);
    for name, owner in select tablename, tableowner from pg_tables where schemaname = 'public' loop
        if owner <> 'hello_owner' then
            execute format('alter table public.%I owner to hello_owner', name);
        end if;
        execute format('grant select, insert, update on public.%I to hello', name);
        execute format('grant select on public.%I to %I', name, current_user);
    end loop;

    foreach owner in array owners loop
        execute format('revoke %I from current_user', owner);
    end loop;
    grant rds_iam to hello_owner, hello;
end
$$
