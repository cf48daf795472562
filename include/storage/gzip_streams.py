"""Gzip as streams: files far larger than memory go into the landing zone and come out of it again."""

from __future__ import annotations

import io
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from _typeshed import WriteableBuffer

BLOCK = 256 * 1024
_GZIP = 31  # zlib's window size for a gzip stream; its header then holds no time and no name


class _Readable(Protocol):
    def read(self, amount: int, /) -> bytes: ...


class Compressed(io.RawIOBase):
    """The gzip of what ``plain`` yields, made as it is read; equal bytes for equal bytes."""

    def __init__(self, plain: BinaryIO, level: int) -> None:
        self._plain = plain
        self._gzip = zlib.compressobj(level, zlib.DEFLATED, _GZIP)
        self._ready = bytearray()
        self._ended = False

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def readinto(self, target: WriteableBuffer, /) -> int:
        """Fill ``target`` with the next compressed bytes; 0 at the end."""
        view = memoryview(target).cast("B")
        while not self._ready and not self._ended:
            block = self._plain.read(BLOCK)
            self._ready += self._gzip.compress(block) if block else self._gzip.flush()
            self._ended = not block
        amount = min(len(view), len(self._ready))
        view[:amount] = self._ready[:amount]
        del self._ready[:amount]
        return amount


class Decompressed(io.RawIOBase):
    """The bytes inside a gzip stream, made as they are read, never more than ``BLOCK`` ahead.

    Args:
        body: Yields the compressed bytes.
        failed: Returns the error to raise for damage, or for what reading the body raised.
    """

    def __init__(self, body: _Readable, failed: Callable[[Exception], Exception]) -> None:
        self._body = body
        self._failed = failed
        self._gzip = zlib.decompressobj(_GZIP)

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def readinto(self, target: WriteableBuffer, /) -> int:
        """Fill ``target`` with the next bytes; 0 at the end.

        Raises:
            Exception: What ``failed`` returns: the stream is damaged, or the body could not be read.
        """
        view = memoryview(target).cast("B")
        try:
            block = self._next(min(len(view), BLOCK))
        except Exception as error:
            raise self._failed(error) from error
        view[: len(block)] = block
        return len(block)

    def _next(self, most: int) -> bytes:
        while most and not self._gzip.eof:
            waiting = self._gzip.unconsumed_tail
            compressed = waiting or self._body.read(BLOCK)
            block = self._gzip.decompress(compressed, most)
            if block:
                return block
            if not compressed and not self._gzip.eof:
                raise EOFError
        if self._gzip.unused_data or (most and self._body.read(1)):
            raise zlib.error
        return b""


@contextmanager
def decompressing(
    body: _Readable, failed: Callable[[Exception], Exception], *, skip: int
) -> Iterator[BinaryIO]:
    """Give the decompressed stream of ``body``, standing at byte ``skip`` or at the end if that is earlier.

    Raises:
        Exception: What ``failed`` returns, also from reads of the stream.
    """
    with io.BufferedReader(Decompressed(body, failed), BLOCK) as stream:
        while skip and (passed := len(stream.read(min(skip, BLOCK)))):
            skip -= passed
        yield stream
