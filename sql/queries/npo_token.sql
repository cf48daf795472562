-- name: make_token
-- So that there is a row to lock; a second task waits here until the first has committed.
insert into integration.npo_token (npo_id) values (%(npo_id)s)
on conflict (npo_id) do nothing;

-- name: lock_token
select fingerprint, ciphertext from integration.npo_token
where npo_id = %(npo_id)s
for update;

-- name: write_token
update integration.npo_token
set fingerprint = %(fingerprint)s, ciphertext = %(ciphertext)s, updated_at = now()
where npo_id = %(npo_id)s;

-- name: forget_token
delete from integration.npo_token
where npo_id = %(npo_id)s;
