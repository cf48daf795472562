-- name: active_rows
-- Rows that have a DAG, as JSON, in one stable order whatever the database's collation.
select to_jsonb(npo) from integration.npo as npo
where status in ('active', 'paused')
order by npo_id collate "C";

-- name: all_rows
select to_jsonb(npo) from integration.npo as npo
order by npo_id collate "C";

-- name: row
select to_jsonb(npo) from integration.npo as npo
where npo_id = %(npo_id)s;

-- name: insert_npo
insert into integration.npo (
    npo_id, name, website, description, owner_email, status, connector, base_url, allowed_hosts,
    credential_ref, manifest, schedule, timezone, start_date, requests_per_minute, max_concurrency
) values (
    %(npo_id)s, %(name)s, %(website)s, %(description)s, %(owner_email)s, %(status)s, %(connector)s,
    %(base_url)s, %(allowed_hosts)s, %(credential_ref)s, %(manifest)s, %(schedule)s, %(timezone)s,
    %(start_date)s, %(requests_per_minute)s, %(max_concurrency)s
);

-- name: set_status
update integration.npo set status = %(status)s where npo_id = %(npo_id)s;

-- name: pause_npo
-- Only the row that was read: what a person has changed meanwhile stays as they left it.
update integration.npo set status = 'paused'
where npo_id = %(npo_id)s and status = 'active' and config_version = %(config_version)s;

-- name: history
select operation, old_row, new_row, changed_at, changed_by from integration.npo_history
where npo_id = %(npo_id)s
order by history_id;

-- name: row_states
-- Per row with a DAG: its status, whether we paused the DAG, whether the row was ever active. Notes of
-- rows that are gone are left alone: they wait for the row to come back.
select
    npo.npo_id,
    npo.status,
    pause.npo_id is not null,
    npo.status = 'active' or exists (
        select from integration.npo_history as history
        where history.npo_id = npo.npo_id and history.new_row ->> 'status' = 'active'
    )
from integration.npo as npo
left join integration.npo_pause as pause using (npo_id)
where npo.status in ('active', 'paused');

-- name: note_pause
insert into integration.npo_pause (npo_id) values (%(npo_id)s) on conflict do nothing;

-- name: forget_pause
delete from integration.npo_pause where npo_id = %(npo_id)s;

-- name: update_npo
-- Only the row that was read: two people editing at once must not undo each other's change.
update integration.npo set
    name = %(name)s, website = %(website)s, description = %(description)s, owner_email = %(owner_email)s,
    connector = %(connector)s, base_url = %(base_url)s, allowed_hosts = %(allowed_hosts)s,
    credential_ref = %(credential_ref)s, manifest = %(manifest)s, schedule = %(schedule)s,
    timezone = %(timezone)s, start_date = %(start_date)s, requests_per_minute = %(requests_per_minute)s,
    max_concurrency = %(max_concurrency)s
where npo_id = %(npo_id)s and config_version = %(seen)s;

-- name: set_credential_ref
update integration.npo set credential_ref = %(credential_ref)s
where npo_id = %(npo_id)s and credential_ref is null;
