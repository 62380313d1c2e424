"""The bridge alone: one await of work that does nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from protocol import answer, counts, now, timed

IN_A_GATHER = 100


async def bare() -> None:
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    loop.call_soon(future.set_result, None)
    await future


def bridged() -> Callable[[], Coroutine[Any, Any, None]]:
    from labtether import _core
    from labtether._engine import ensure_started

    ensure_started()

    async def once() -> None:
        await _core.no_op()

    return once


def compared() -> Callable[[], Coroutine[Any, Any, None]]:
    import labtether_comparator

    async def once() -> None:
        await labtether_comparator.no_op()

    return once


NO_OPS: dict[str, Callable[[], Callable[[], Coroutine[Any, Any, None]]]] = {
    "bare": lambda: bare,
    "labtether": bridged,
    "future_into_py": compared,
}


def no_op(which: str) -> None:
    asyncio.run(timed(NO_OPS[which](), None))


def no_op_gather(which: str) -> None:
    once = NO_OPS[which]()

    async def main() -> None:
        for count in counts():
            times = []
            cpu = time.process_time_ns()
            for _ in range(count // IN_A_GATHER):
                begun = now()
                await asyncio.gather(*[once() for _ in range(IN_A_GATHER)])
                times.append((now() - begun) // IN_A_GATHER)
            answer(time.process_time_ns() - cpu, count, times)

    asyncio.run(main())
