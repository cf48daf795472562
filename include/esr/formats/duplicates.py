"""Ids that came before in the same file: the first line stays, later ones are set aside."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from include.esr.formats.chunks import BadLine

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from include.esr.formats.chunks import Chunk
    from include.esr.formats.layout import FileFormat


class DuplicateGuard:
    """Knows which ids of each record type a file has had: 8 bytes an id.

    Ids are kept in sorted runs, each more than twice as long as the next, so that neither many small
    chunks nor few large ones cost more than a few merges an id.
    """

    def __init__(self, fmt: FileFormat) -> None:
        self._columns = {code: record.unique for code, record in fmt.records.items() if record.unique}
        self._runs: dict[str, list[npt.NDArray[np.int64]]] = {code: [] for code in self._columns}

    def remember(self, code: str, ids: pa.Array | pa.ChunkedArray) -> None:
        """Take note of ids of good lines read before: where a file is read on after a restart."""
        self._add(code, _numbers(ids))

    def take(self, chunk: Chunk) -> Chunk:
        """Return the chunk with lines whose id came before moved to the bad ones."""
        tables, bad = dict(chunk.tables), list(chunk.bad)
        for code, column in self._columns.items():
            if code in tables:
                repeated = self._repeated(code, _numbers(tables[code].column(column)))
                if repeated.any():
                    bad += _told(chunk, code, column, repeated)
                    tables[code] = tables[code].filter(~repeated)
        if len(bad) == len(chunk.bad):
            return chunk
        bad.sort(key=lambda line: line.line)
        return replace(chunk, tables={c: t for c, t in tables.items() if t.num_rows}, bad=bad)

    def _repeated(self, code: str, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Tell which ids came before, in earlier chunks or in this one; remember the others."""
        import numpy as np

        _, first = np.unique(ids, return_index=True)
        repeated = np.ones(len(ids), np.bool_)
        repeated[first] = False
        for run in self._runs[code]:
            place = np.searchsorted(run, ids)
            repeated |= run.take(place, mode="clip") == ids
        self._add(code, ids[~repeated])
        return repeated

    def _add(self, code: str, ids: npt.NDArray[np.int64]) -> None:
        import numpy as np

        if not len(ids):
            return
        runs = self._runs[code]
        runs.append(np.sort(ids))
        while len(runs) > 1 and len(runs[-2]) <= 2 * len(runs[-1]):
            last = runs.pop()
            runs[-1] = np.sort(
                np.concatenate([runs[-1], last]), kind="stable"
            )  # two runs: merged in one pass


def _numbers(ids: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Return a number for each id; of digits one that ``007`` does not share with ``7``."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_string(ids.type):  # at most 18 digits: with a 1 before them still 64 bits
        ids = pc.binary_join_element_wise("1", ids, "").cast(pa.int64())
    numbers: npt.NDArray[np.int64] = ids.to_numpy()
    return numbers


def _told(chunk: Chunk, code: str, column: str, repeated: npt.NDArray[np.bool_]) -> list[BadLine]:
    message = f"a line before has the same {column}; that one was kept"
    lines = chunk.tables[code].column("line").to_numpy()[repeated].tolist()
    return [BadLine(line, code, "duplicate_id", message, chunk.text_of(line)) for line in lines]
