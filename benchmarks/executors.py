"""Thread pools: concurrent.futures' own, and labtether's."""

from __future__ import annotations

import time
from concurrent.futures import Executor
from functools import partial

from protocol import REPLY, answer, blocking, counts, now

IN_A_BURST = 1000
WORKERS = 2
POOLS = ("thread_pool", "labtether")


def pool(which: str) -> Executor:
    """One of them, with `WORKERS` workers."""
    if which == "labtether":
        import labtether as lt

        return lt.Executor(WORKERS)
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(WORKERS)


def echo(text: str) -> str:
    """The least that work can be."""
    return text


def submit(which: str) -> None:
    """Submit and wait for the result, one after the other."""
    with pool(which) as executor:
        blocking(lambda: executor.submit(echo, REPLY).result())


def bursts(which: str, *, mapped: bool) -> None:
    """A thousand submitted, or mapped, then a thousand results; the time is that of each."""
    numbers = range(IN_A_BURST)
    with pool(which) as executor:
        for count in counts():
            times = []
            cpu = time.process_time_ns()
            for _ in range(count // IN_A_BURST):
                begun = now()
                if mapped:
                    results = list(executor.map(abs, numbers))
                else:
                    results = [future.result() for future in [executor.submit(abs, number) for number in numbers]]
                times.append((now() - begun) // IN_A_BURST)
                if results != list(numbers):
                    raise SystemExit("wrong results")
            answer(time.process_time_ns() - cpu, count, times)


submit_burst = partial(bursts, mapped=False)
map_burst = partial(bursts, mapped=True)
