"""Reads a whole RMF from bytes, the way a stage does, for tests of the reader."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from include.esr.formats.layout import load_format
from include.esr.formats.reader import BadLine, Chunk, DuplicateGuard, Footer, Header, Start, read_chunks
from include.esr.names import FileType

if TYPE_CHECKING:
    from collections.abc import Iterable

REAL = (
    'POS,7607373,,"C","34611829","Medical and Dental\\","Specialty Registrar (Cornerways)","800",'
    '"General Practice","WES/J82150/800/GPST/003","WES","RBD","NHS","MS02","Specialty Registrar ST2/ SpR2",""'
)
HEADER = 'HDR,"DE_WES_RMF_20260304_00000017",20260304,143000,"WES",17'
RMF = load_format(FileType.RMF)


@dataclass
class Whole:
    """All chunks of a file put together."""

    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    bad: list[BadLine] = field(default_factory=list)
    header: Header | None = None
    footer: Footer | None = None
    data_lines: int = 0
    chunks: int = 0

    @property
    def good_lines(self) -> list[int]:
        return sorted(row["line"] for rows in self.rows.values() for row in rows)

    @property
    def reasons(self) -> list[tuple[int, str, str]]:
        return [(line.line, line.record_type, line.code) for line in self.bad]


def chunks_of(
    body: bytes,
    *,
    encoding: str = "utf-8",
    chunk_bytes: int = 2**20,
    max_line_bytes: int = 64 * 1024,
    start: Start | None = None,
) -> list[Chunk]:
    start = start or Start()
    stream = io.BytesIO(body[start.offset :])
    return list(
        read_chunks(
            stream,
            RMF,
            encoding=encoding,
            chunk_bytes=chunk_bytes,
            max_line_bytes=max_line_bytes,
            start=start,
        )
    )


def joined(chunks: Iterable[Chunk], *, guard: bool = False) -> Whole:
    whole, duplicates = Whole(), DuplicateGuard(RMF)
    for chunk in chunks:
        taken = duplicates.take(chunk) if guard else chunk
        for code, table in taken.tables.items():
            whole.rows.setdefault(code, []).extend(table.to_pylist())
        whole.bad += taken.bad
        whole.header = whole.header or taken.header
        whole.footer = whole.footer or taken.footer
        whole.data_lines += taken.data_lines
        whole.chunks += 1
    return whole


def read(body: bytes | str, *, guard: bool = False, **options: Any) -> Whole:
    return joined(chunks_of(body.encode() if isinstance(body, str) else body, **options), guard=guard)


def framed(*lines: str, end: str = "\n") -> str:
    return end.join([HEADER, *lines, f"FTR,{len(lines)}", ""])
