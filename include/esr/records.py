"""Split records: what a file holds, durable by file, chunk and record type, countable and replayable.

One document of ``esr_record`` is one record type of one chunk, its lines as a compressed Arrow table:
a national day is some hundred documents rather than some hundred thousand, written as fast as it is
read. ``spotlight esr records`` shows them as text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pyarrow as pa
    from pymongo.client_session import ClientSession

    from include.esr.documents import Source
    from include.storage.mongo import IntegrationStore

FORMAT = "arrow-ipc-stream+zstd"


def to_document(source: Source, chunk: int, code: str, table: pa.Table) -> dict[str, Any]:
    """Return the document of one record type of one chunk."""
    return {
        "_id": f"{source.file_id}|{chunk:06d}|{code}",
        "file_id": source.file_id,
        "deanery": source.deanery.value,
        "chunk": chunk,
        "type": code,
        "rows": table.num_rows,
        "format": FORMAT,
        "body": _pack(table),
    }


def write_records(
    store: IntegrationStore, session: ClientSession, file_id: str, chunk: int, documents: list[dict[str, Any]]
) -> None:
    """Write a chunk's documents; the first chunk takes what an earlier reading of the file left away."""
    if chunk == 0:
        store["esr_record"].delete_many({"_id": _of_file(file_id)}, session=session)
    if documents:
        store["esr_record"].insert_many(documents, ordered=False, session=session)


def chunks(
    store: IntegrationStore, file_id: str, *, first: int = 0, codes: tuple[str, ...] | None = None
) -> Iterator[tuple[int, dict[str, pa.Table]]]:
    """Yield each chunk of a file with its tables by record type, in order.

    Args:
        store: The store.
        file_id: Whose records.
        first: The chunk to begin with.
        codes: Only these record types; all when left out.
    """
    query: dict[str, Any] = {"_id": _of_file(file_id, first)}
    if codes is not None:
        query["type"] = {"$in": list(codes)}
    number, tables = -1, dict[str, "pa.Table"]()
    for found in store["esr_record"].find(query).sort("_id", 1).batch_size(8):
        if found["chunk"] != number:
            if tables:
                yield number, tables
            number, tables = found["chunk"], {}
        tables[found["type"]] = _unpack(found["body"])
    if tables:
        yield number, tables


def counts(store: IntegrationStore, file_id: str) -> dict[str, int]:
    """Return how many split records a file has, by record type."""
    totals: dict[str, int] = {}
    for found in store["esr_record"].find({"_id": _of_file(file_id)}, {"type": 1, "rows": 1}):
        totals[found["type"]] = totals.get(found["type"], 0) + found["rows"]
    return dict(sorted(totals.items()))


def slices(tables: Mapping[str, pa.Table], size: int) -> Iterator[tuple[int, dict[str, pa.Table]]]:
    """Yield a chunk's lines in runs of at most ``size``, in the order of the file.

    A run holds all record types of its lines, so that what a file tells of one position or person side by
    side is applied together.

    Yields:
        The run's last line and its tables, each only its lines of the run.
    """
    import numpy as np

    if not tables:  # a process was killed after the last slice of a chunk
        return
    lines = {code: table["line"].to_numpy() for code, table in tables.items()}
    whole = np.sort(np.concatenate(list(lines.values())))
    for at in range(0, len(whole), size):
        first, last = int(whole[at]), int(whole[min(at + size, len(whole)) - 1])
        run = {}
        for code, table in tables.items():
            low, high = np.searchsorted(lines[code], [first, last + 1])
            if high > low:
                run[code] = table.slice(int(low), int(high - low))
        yield last, run


def after(tables: Mapping[str, pa.Table], line: int) -> dict[str, pa.Table]:
    """Return the lines of a chunk that come after ``line``."""
    import numpy as np

    left = {}
    for code, table in tables.items():
        done = int(np.searchsorted(table["line"].to_numpy(), line, side="right"))
        if done < table.num_rows:
            left[code] = table.slice(done)
    return left


def _of_file(file_id: str, first_chunk: int = 0) -> dict[str, str]:
    """Return the range of ids of a file's documents: they are in the order of the file."""
    return {"$gte": f"{file_id}|{first_chunk:06d}", "$lt": f"{file_id}}}"}  # } comes after |


def _pack(table: pa.Table) -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def _unpack(body: bytes) -> pa.Table:
    import pyarrow as pa

    with pa.ipc.open_stream(body) as reader:
        return reader.read_all()
