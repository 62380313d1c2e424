"""How a worker is asked and how it answers, and what every subject shares: the messages, the links, the runners.

For each count read from stdin a worker does so many operations, and answers with one line: the CPU time of its process,
the operations done, and their times. All in nanoseconds.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

COMMAND = "MEASURE 1"
REPLY = "READING +1.2345E+00"
BAUDRATE = 115200

Main = Callable[[], Coroutine[Any, Any, None]]
now = time.perf_counter_ns


def counts() -> Iterator[int]:
    """What is asked for, until nothing more is."""
    for line in sys.stdin:
        yield int(line)


def answer(cpu: int, done: int, times: list[int]) -> None:
    print(" ".join(map(str, [cpu, done, *times])), flush=True)


def check(reply: str | bytes, expected: str = REPLY) -> None:
    text = reply.decode() if isinstance(reply, bytes) else reply
    if text.rstrip("\n") != expected:
        raise SystemExit(f"the reply was {reply!r}")


async def timed(operation: Callable[[], Awaitable[Any]], expected: str | None = REPLY) -> None:
    """Rounds of one awaited operation after the other."""
    value: Any = None
    for count in counts():
        times = []
        cpu = time.process_time_ns()
        for _ in range(count):
            begun = now()
            value = await operation()
            times.append(now() - begun)
        answer(time.process_time_ns() - cpu, count, times)
        if expected is not None:
            check(value, expected)


def blocking(operation: Callable[[], Any]) -> None:
    """The same without a loop."""
    value: Any = None
    for count in counts():
        times = []
        cpu = time.process_time_ns()
        for _ in range(count):
            begun = now()
            value = operation()
            times.append(now() - begun)
        answer(time.process_time_ns() - cpu, count, times)
        check(value)


def on_asyncio(main: Main) -> None:
    asyncio.run(main())


def on_uvloop(main: Main) -> None:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def on_trio(main: Main) -> None:
    import trio

    trio.run(main)


RUNNERS = {"asyncio": on_asyncio, "uvloop": on_uvloop, "trio": on_trio}


def link(line: str, address: str, **options: Any) -> Any:
    import labtether as lt

    return lt.serial(address, BAUDRATE, **options) if line == "pty" else lt.tcp("127.0.0.1", int(address), **options)
