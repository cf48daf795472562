"""Which DAG file a row's DAG is in: the same for ever."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from include.registry.models import NPO_ID_PATTERN
from include.registry.shards import SHARDS, shard_file, shard_of, snapshot_file
from include.settings import PROJECT_ROOT


def test_a_row_never_moves_to_another_file():
    # Were one of these to change, every DAG would get a new version and lose its place in the old file.
    assert SHARDS == 16
    assert [shard_of(npo_id) for npo_id in ("codebridge", "hopeworks", "mentornet")] == [12, 13, 5]


@given(st.from_regex(NPO_ID_PATTERN, fullmatch=True))
def test_every_row_has_a_file(npo_id: str):
    assert 0 <= shard_of(npo_id) < SHARDS
    assert (PROJECT_ROOT / "dags" / shard_file(shard_of(npo_id))).is_file()


def test_rows_spread_evenly():
    sizes = Counter(shard_of(f"npo_{n}") for n in range(10_000))
    assert len(sizes) == SHARDS
    assert max(sizes.values()) < 1.25 * 10_000 / SHARDS


def test_the_files_differ_in_their_number_only():
    files = sorted((PROJECT_ROOT / "dags").glob("npo_shard_*.py"))
    assert [file.name for file in files] == [shard_file(shard) for shard in range(SHARDS)]
    texts = {
        file.read_text().replace(f"Shard {n} of", "Shard N of").replace(f"npo_dags({n},", "npo_dags(N,")
        for n, file in enumerate(files)
    }
    assert len(texts) == 1


def test_each_shard_has_a_snapshot_of_its_own():
    base = Path("/var/lib/registry_snapshot.json")
    assert snapshot_file(base, 7) == Path("/var/lib/registry_snapshot_07.json")
    assert len({snapshot_file(base, shard) for shard in range(SHARDS)}) == SHARDS
