"""Two sides that share something: two tasks of one loop, two loops in two threads, a loop and a thread."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from protocol import answer, counts, now

Side = Callable[[], Coroutine[Any, Any, None]]


async def rounds(once: Callable[[int], Awaitable[int | None]], *, whole: bool = False) -> None:
    """Rounds that are measured as one: the time for each operation, or that of the whole round.

    `once` may return when it began, if it is not when it was called.
    """
    for count in counts():
        cpu = time.process_time_ns()
        begun = now()
        begun = await once(count) or begun
        took = now() - begun
        answer(time.process_time_ns() - cpu, count, [took if whole else took // count])


async def both_asyncio(one: Side, other: Side) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(one())
        group.create_task(other())


async def pause_asyncio() -> None:
    await asyncio.sleep(0)


async def both_trio(one: Side, other: Side) -> None:
    import trio

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one)
        nursery.start_soon(other)


async def pause_trio() -> None:
    import trio

    await trio.lowlevel.checkpoint()


PAUSES = {"asyncio": pause_asyncio, "uvloop": pause_asyncio, "trio": pause_trio}
BOTH = {"asyncio": both_asyncio, "uvloop": both_asyncio, "trio": both_trio}


async def there(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any]) -> Any:
    """Await `work`, done by another loop: asyncio's own way."""
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))


@contextlib.asynccontextmanager
async def another_loop() -> AsyncIterator[asyncio.AbstractEventLoop]:
    """A second asyncio loop that runs in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="the other loop")
    thread.start()
    try:
        yield loop
    finally:
        await there(loop, loop.shutdown_default_executor())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextlib.asynccontextmanager
async def a_thread() -> AsyncIterator[Callable[[Callable[[], None]], Awaitable[None]]]:
    """Runs one side at a time in a thread without a loop; it is the same thread in every round."""
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1, "the other thread") as pool:
        yield lambda side: loop.run_in_executor(pool, side)
