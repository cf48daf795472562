-- depends: 0001-npo
-- DAGs this project paused because the row says 'paused'. Only these are unpaused again when the
-- row is active: a pause a person set in the Airflow UI stays. No foreign key: the note must outlive
-- a deleted row, or a row inserted again under the same id would stay paused for ever.

create table integration.npo_pause (
    npo_id    text primary key,
    paused_at timestamptz not null default now()
);
