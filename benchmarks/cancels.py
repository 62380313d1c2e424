"""From cancel() to the resumption of who waited."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from protocol import COMMAND, RUNNERS, answer, counts, link, now


async def cancelled_in_asyncio(wait: Callable[[], Awaitable[Any]], ready: Callable[[], Awaitable[None]]) -> int | None:
    """Nanoseconds from cancel() to the resumption; None if the wait ended of itself before."""
    resumed = 0

    async def waiting() -> None:
        nonlocal resumed
        try:
            await wait()
        except asyncio.CancelledError:
            resumed = now()
            raise

    task = asyncio.create_task(waiting())
    await ready()
    begun = now()
    task.cancel()
    await asyncio.wait([task])
    return resumed - begun if resumed else None


async def cancelled_in_trio(wait: Callable[[], Awaitable[Any]], ready: Callable[[], Awaitable[None]]) -> int | None:
    import trio

    resumed = 0

    async def waiting() -> None:
        nonlocal resumed
        try:
            await wait()
        except trio.Cancelled:
            resumed = now()
            raise

    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiting)
        await ready()
        begun = now()
        nursery.cancel_scope.cancel()
    return resumed - begun if resumed else None


async def cancels(runner: str, wait: Callable[[], Awaitable[Any]], ready: Callable[[], Awaitable[None]]) -> None:
    cancelled = cancelled_in_trio if runner == "trio" else cancelled_in_asyncio
    for count in counts():
        times: list[int] = []
        cpu = time.process_time_ns()
        while len(times) < count:
            took = await cancelled(wait, ready)
            if took is not None:
                times.append(took)
        answer(time.process_time_ns() - cpu, count, times)


def sleep_of(runner: str) -> Callable[[float], Awaitable[None]]:
    if runner == "trio":
        import trio

        return trio.sleep
    return asyncio.sleep


def cancel_subject(runner: str, what: str, line: str, address: str) -> None:
    sleep = sleep_of(runner)

    async def main() -> None:
        # Once the late reply has come nothing more is waited for, so that the next question can be written at once.
        async with link(line, address, settle=0.0, trace=4) as meter:
            before = 0.0

            async def written() -> None:
                nonlocal before
                while True:
                    await sleep(0.0005)
                    # The latest that was sent; where this looks late, the reply may have come after it.
                    sent = max((event.monotonic for event in meter.trace() if event.direction == ">"), default=0.0)
                    if sent > before:
                        before = sent
                        return

            async def pending() -> None:
                await sleep(0.001)

            if what == "query":
                await cancels(runner, lambda: meter.query(COMMAND), written)
            else:
                await cancels(runner, meter.receive, pending)

    RUNNERS[runner](main)


def cancel_bare(_line: str, _address: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def wait() -> None:
            await loop.create_future()

        async def pending() -> None:
            await asyncio.sleep(0.001)

        await cancels("asyncio", wait, pending)

    asyncio.run(main())
