-- depends: 0002-npo-pause
-- What the last exchange of an OAuth2 refresh token gave, encrypted with the deployment's key. Partners that
-- replace the refresh token at each exchange take the old one no more: one task at a time exchanges, holding
-- the row's lock. The fingerprint is of the credential a person set; tokens of an older one do not count.
-- No foreign key: a draft is checked before its row is there.

create table integration.npo_token (
    npo_id      text primary key,
    fingerprint text not null default '',
    ciphertext  bytea not null default '',
    updated_at  timestamptz not null default now()
);
