"""The last good rows in a file."""

from __future__ import annotations

import os
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from include.registry.snapshot import read_snapshot, write_snapshot

ROWS = [{"npo_id": "hopeworks", "allowed_hosts": ["a", "b"], "manifest": {"é": 1.5}}]


def rows_in(path: Path) -> list[dict[str, object]]:
    snapshot = read_snapshot(path)
    assert snapshot
    return snapshot.rows


def test_what_is_read_is_what_was_written(tmp_path: Path):
    path = tmp_path / "deep" / "folder" / "snapshot.json"
    assert write_snapshot(path, ROWS)
    snapshot = read_snapshot(path)
    assert snapshot
    assert snapshot.rows == ROWS
    assert abs(datetime.now(tz=UTC) - snapshot.taken_at) < timedelta(minutes=1)


def test_unchanged_rows_are_not_written_again_but_count_as_read(tmp_path: Path):
    path = tmp_path / "snapshot.json"
    write_snapshot(path, ROWS)
    written, an_hour_ago = path.stat().st_ino, time.time() - 3600
    os.utime(path, (an_hour_ago, an_hour_ago))
    assert not write_snapshot(path, [dict(reversed(ROWS[0].items()))])
    assert path.stat().st_ino == written
    snapshot = read_snapshot(path)
    assert snapshot
    assert datetime.now(tz=UTC) - snapshot.taken_at < timedelta(minutes=1)


def test_a_change_replaces_the_file_and_leaves_nothing_beside_it(tmp_path: Path):
    path = tmp_path / "snapshot.json"
    write_snapshot(path, ROWS)
    assert write_snapshot(path, [])
    assert [file.name for file in tmp_path.iterdir()] == ["snapshot.json"]
    assert rows_in(path) == []


@pytest.mark.parametrize("content", [b"", b"[{", b'"text"', b"[1]", b"\xff\xfe", b'{"rows": []}'])
def test_a_damaged_snapshot_counts_as_none(tmp_path: Path, content: bytes):
    path = tmp_path / "snapshot.json"
    path.write_bytes(content)
    assert read_snapshot(path) is None
    assert write_snapshot(path, ROWS)
    assert rows_in(path) == ROWS


def test_no_file_is_no_snapshot(tmp_path: Path):
    assert read_snapshot(tmp_path / "none.json") is None


def write_many(path: Path, number: int) -> None:
    for count in range(40):
        write_snapshot(path, [{"npo_id": f"npo_{number}", "text": str(count) * 50_000}])


def test_a_reader_never_sees_a_part_while_two_processes_write(tmp_path: Path):
    path = tmp_path / "snapshot.json"
    write_snapshot(path, ROWS)
    with ProcessPoolExecutor(2) as pool:
        writers = [pool.submit(write_many, path, number) for number in (1, 2)]
        while not all(writer.done() for writer in writers):
            assert read_snapshot(path) is not None
        for writer in writers:
            writer.result()
    assert [file.name for file in tmp_path.iterdir()] == ["snapshot.json"]
