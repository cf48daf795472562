"""The config table: rows, queries, snapshot, credentials."""
