-- name: shard_rows
-- Rows of one shard that have a DAG, as JSON, in one stable order whatever the database's collation.
-- include/registry/shards.py computes the same shard in Python.
select to_jsonb(npo) from integration.npo as npo
where status in ('active', 'paused')
    and get_byte(sha256(convert_to(npo_id, 'UTF8')), 0) %% %(shards)s = %(shard)s
order by npo_id collate "C";

-- name: row_versions
-- What tells that a row with a DAG is new, changed or gone. A row deleted and inserted again has
-- version 1 again: the time stamp tells the two apart.
select npo_id, config_version, updated_at from integration.npo
where status in ('active', 'paused');
