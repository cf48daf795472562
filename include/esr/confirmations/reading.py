"""Reading an answer file: first as a whole, to believe it or not, then slice by slice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from include.esr.checks import require_frame
from include.esr.confirmations.verdicts import AnswerLine
from include.esr.formats.frame import uncounted_lines
from include.esr.formats.layout import load_format
from include.esr.formats.reader import read_chunks
from include.esr.names import FileType
from include.esr.tally import Tally, TypeTally

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

    from include.esr.context import EsrContext
    from include.esr.files.entry import Entry
    from include.esr.formats.reader import BadLine, Chunk


@dataclass(frozen=True, slots=True)
class Slice:
    """Lines that are committed together.

    Attributes:
        first_line: It begins with.
        chunk: Of the file it lies in.
        next_line: The next slice begins with.
        answers: The good lines.
        bad: The lines to be set aside.
    """

    first_line: int
    chunk: int
    next_line: int
    answers: Sequence[AnswerLine]
    bad: Sequence[BadLine]


def require_whole(ctx: EsrContext, entry: Entry) -> Tally:
    """Read the whole file and return what is in it.

    Raises:
        FileRejectedError: Its frame is bad, or most of it cannot be read.
    """
    tally, types = Tally(), TypeTally()
    for chunk in _chunks(ctx, entry):
        if chunk.header is not None:
            stem, deanery, number = chunk.header.stem, chunk.header.deanery, chunk.header.sequence
            tally.header = {"stem": stem, "deanery": deanery, "sequence": number}
        if chunk.footer is not None:
            tally.footer = chunk.footer.count
        tally.data_lines += chunk.data_lines
        tally.uncounted += uncounted_lines(chunk.bad)
        types.good += sum(table.num_rows for table in chunk.tables.values())
        for bad in chunk.bad:
            tally.codes[bad.code] = tally.codes.get(bad.code, 0) + 1
    tally.types[str(entry.type)] = types
    require_frame(entry.source.name, tally)
    return tally


def slices(ctx: EsrContext, entry: Entry, *, start_line: int) -> Iterator[Slice]:
    """Yield the file in slices of at most ``batch_size`` answers, from a line on.

    Of bad lines, the first ``esr_max_quarantined`` of the file are given.
    """
    kept = 0
    for chunk in _chunks(ctx, entry):
        bad = chunk.bad[: max(0, ctx.settings.esr_max_quarantined - kept)]
        kept += len(bad)
        if chunk.next_line > start_line:
            yield from _slices(ctx, entry, chunk, bad, max(start_line, chunk.first_line))


def _slices(
    ctx: EsrContext, entry: Entry, chunk: Chunk, bad: Sequence[BadLine], first: int
) -> Iterator[Slice]:
    table = chunk.tables.get(str(entry.type))
    answers = [each for each in _answers(table, entry) if each.line >= first] if table else []
    size = ctx.settings.batch_size
    for at in range(0, max(1, len(answers)), size):
        part = answers[at : at + size]
        is_last = at + size >= len(answers)
        until = chunk.next_line if is_last else answers[at + size].line
        yield Slice(first, chunk.number, until, part, [each for each in bad if first <= each.line < until])
        first = until


def _chunks(ctx: EsrContext, entry: Entry) -> Iterator[Chunk]:
    landed = entry.landed
    with ctx.landing.open(landed.key) as stream:
        yield from read_chunks(
            stream,
            load_format(FileType(landed.source.name.type)),
            encoding=landed.encoding or "utf-8",
            chunk_bytes=ctx.settings.esr_chunk_bytes,
            max_line_bytes=ctx.settings.esr_max_line_bytes,
        )


def _answers(table: pa.Table, entry: Entry) -> Iterator[AnswerLine]:
    is_apc = entry.type is FileType.APC
    ordinal = "esr_vacancy_id" if is_apc else "ordinal"
    for row in table.to_pylist():
        post_number = row["deanery_number"] if is_apc else row["deanery_post_number"]
        needed = not is_apc or row["position_id"] is None
        yield _answer(row, row[ordinal], post_number if needed else None)


def _answer(row: dict[str, Any], ordinal: int, post_number: str | None) -> AnswerLine:
    return AnswerLine(
        line=row["line"],
        ordinal=ordinal,
        position_id=row["position_id"],
        post_number=post_number,
        status=row["load_status_code"],
        type=row["message_type"],
        text=row["message_text"],
    )
