"""Many calls side by side from synchronous code: an event loop in a thread of its own, bounded in width."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from threading import Lock, Thread
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence

Asked = TypeVar("Asked")
Found = TypeVar("Found")

_CLOSING_SECONDS = 10


class BulkLoop:
    """An event loop for one client; started by the first call, usable from any thread.

    Args:
        width: Calls under way at once.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._start = Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: Thread | None = None

    def each(self, ask: Callable[[Asked], Awaitable[Found]], items: Iterable[Asked]) -> list[Found]:
        """Return what ``ask`` finds for each item, in the order of the items.

        The first failure ends it all: the calls under way are given up, and it is raised.
        """
        asked = list(items)
        return self._run(_each(ask, asked, self._width)) if asked else []

    def close(self, last: Callable[[], Awaitable[None]]) -> None:
        """Give up what is under way, await ``last`` and stop the thread; harmless when repeated."""
        with self._start:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is None or thread is None:
            return
        with suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(_end(last), loop).result(_CLOSING_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_CLOSING_SECONDS)
        if not thread.is_alive():
            loop.close()

    def _run(self, work: Coroutine[None, None, Found]) -> Found:
        future = asyncio.run_coroutine_threadsafe(work, self._running())
        try:
            return future.result()
        except BaseException:
            # A task that is cleared or times out interrupts this thread, not the loop's.
            future.cancel()
            raise

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._start:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = Thread(target=self._loop.run_forever, name="tcs", daemon=True)
                self._thread.start()
            return self._loop


async def _each(ask: Callable[[Asked], Awaitable[Found]], asked: Sequence[Asked], width: int) -> list[Found]:
    found: dict[int, Found] = {}
    waiting = iter(enumerate(asked))

    async def work() -> None:
        for at, item in waiting:
            found[at] = await ask(item)

    workers = [asyncio.ensure_future(work()) for _ in range(min(width, len(asked)))]
    try:
        await asyncio.gather(*workers)
    finally:
        await _cancel(workers)
    return [found[at] for at in range(len(asked))]


async def _end(last: Callable[[], Awaitable[None]]) -> None:
    await _cancel([task for task in asyncio.all_tasks() if task is not asyncio.current_task()])
    await last()


async def _cancel(tasks: Sequence[asyncio.Future[None]]) -> None:
    left = [task for task in tasks if not task.done()]
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=_CLOSING_SECONDS)
