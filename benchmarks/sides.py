"""Sides that run at once: tasks of one loop, two loops in two threads, a loop and a thread."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
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


async def shared_rounds(runner: str, workers: Sequence[Callable[[int], Coroutine[Any, Any, None]]]) -> None:
    """Rounds that are measured as one: all of `workers` at once, each with its share of the operations."""
    for count in counts():
        share = max(1, count // len(workers))
        sides = [partial(worker, share) for worker in workers]
        cpu = time.process_time_ns()
        begun = now()
        await TOGETHER[runner](*sides)
        took = now() - begun
        answer(time.process_time_ns() - cpu, share * len(workers), [took])


async def together_asyncio(*sides: Side) -> None:
    async with asyncio.TaskGroup() as group:
        for side in sides:
            group.create_task(side())


async def pause_asyncio() -> None:
    await asyncio.sleep(0)


async def together_trio(*sides: Side) -> None:
    import trio

    async with trio.open_nursery() as nursery:
        for side in sides:
            nursery.start_soon(side)


async def pause_trio() -> None:
    import trio

    await trio.lowlevel.checkpoint()


PAUSES = {"asyncio": pause_asyncio, "uvloop": pause_asyncio, "trio": pause_trio}
TOGETHER = {"asyncio": together_asyncio, "uvloop": together_asyncio, "trio": together_trio}


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
