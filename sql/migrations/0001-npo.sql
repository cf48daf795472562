-- The config table: one row is one integration. Every change is kept in integration.npo_history.
-- Who changed it: set_config('spotlight.changed_by', 'name', true) in the transaction, else the
-- updated_by the statement brings, else the database user.

create schema if not exists integration;

create table integration.npo (
    npo_id              text primary key check (npo_id ~ '^[a-z][a-z0-9_]{1,39}$'),
    name                text not null check (length(name) between 1 and 200),
    website             text,
    description         text,
    owner_email         text not null check (owner_email ~ '^[^@\s]+@[^@\s]+$'),
    status              text not null default 'draft'
                        check (status in ('draft', 'active', 'paused', 'disabled')),
    connector           text not null check (connector ~ '^[a-z][a-z0-9_]{1,39}$'),
    base_url            text not null check (base_url ~ '^https?://'),
    allowed_hosts       text[] not null check (cardinality(allowed_hosts) > 0),
    credential_ref      text,
    manifest            jsonb not null default '{}' check (jsonb_typeof(manifest) = 'object'),
    schedule            text not null default '@hourly' check (schedule <> ''),
    timezone            text not null default 'UTC',
    -- A month back, so that the first run starts at once and not when the first interval is over.
    start_date          date not null default current_date - 31,
    requests_per_minute integer not null default 600 check (requests_per_minute between 1 and 100000),
    max_concurrency     integer not null default 2 check (max_concurrency between 1 and 64),
    config_version      integer not null default 1,
    created_at          timestamptz not null default now(),
    updated_at          timestamptz not null default now(),
    updated_by          text
);

comment on table integration.npo is 'One row is one NPO integration; an active row is a DAG npo__<npo_id>.';
comment on column integration.npo.credential_ref is 'Name of an Airflow connection. No secret in this table.';
comment on column integration.npo.manifest is 'Completes or overrides the manifest of the connector.';

create table integration.npo_history (
    history_id bigint generated always as identity primary key,
    npo_id     text not null,
    operation  text not null check (operation in ('INSERT', 'UPDATE', 'DELETE')),
    old_row    jsonb,
    new_row    jsonb,
    changed_at timestamptz not null default clock_timestamp(),
    changed_by text not null
);

create index npo_history_npo_id on integration.npo_history (npo_id, history_id);

create function integration.npo_stamp() returns trigger language plpgsql as $$
declare
    told text := nullif(current_setting('spotlight.changed_by', true), '');
begin
    if tg_op = 'INSERT' then
        new.config_version := 1;
        new.created_at := now();
        new.updated_at := now();
        new.updated_by := coalesce(told, new.updated_by, session_user);
        return new;
    end if;
    if new.npo_id <> old.npo_id then
        raise exception 'npo_id % cannot be changed: its DAG, landed data and offering ids depend on it; insert a new row',
            old.npo_id using errcode = 'check_violation';
    end if;
    new.config_version := old.config_version;
    new.created_at := old.created_at;
    new.updated_at := old.updated_at;
    if new is distinct from old then
        new.config_version := old.config_version + 1;
        new.updated_at := now();
        if told is not null then
            new.updated_by := told;
        elsif new.updated_by is not distinct from old.updated_by then
            new.updated_by := session_user;
        end if;
    end if;
    return new;
end
$$;

create trigger npo_stamp before insert or update on integration.npo
    for each row execute function integration.npo_stamp();

create function integration.npo_keep() returns trigger language plpgsql as $$
begin
    if tg_op = 'UPDATE' and new is not distinct from old then
        return null;
    end if;
    insert into integration.npo_history (npo_id, operation, old_row, new_row, changed_by)
    values (
        case when tg_op = 'DELETE' then old.npo_id else new.npo_id end,
        tg_op,
        case when tg_op <> 'INSERT' then to_jsonb(old) end,
        case when tg_op <> 'DELETE' then to_jsonb(new) end,
        case when tg_op = 'DELETE'
             then coalesce(nullif(current_setting('spotlight.changed_by', true), ''), session_user)
             else new.updated_by end
    );
    return null;
end
$$;

create trigger npo_keep after insert or update or delete on integration.npo
    for each row execute function integration.npo_keep();
