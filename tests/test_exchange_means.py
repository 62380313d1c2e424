"""Means of cancelling besides those of `test_cancel_means.py`: limits that fail, nurseries, handles. As a control, each
ends a plain sleep."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio
import anyio.lowlevel
import pytest

import labtether as lt
from test_cancel_means import NEVER_EARLY, Attempt, Drive, name
from test_cancel_means import ON_ASYNCIO as KNOWN_ON_ASYNCIO
from test_cancel_means import ON_TRIO as KNOWN_ON_TRIO


@dataclass
class Child(Attempt):
    """An attempt that may be a nursery's child, and then has an outcome."""

    outcome: lt.Outcome[None] | None = None


Means = Callable[[Child, Drive], Awaitable[None]]


async def anyio_fail_after(attempt: Child, drive: Drive) -> None:
    async def inside() -> None:
        timed_out = False
        try:
            with anyio.fail_after(math.inf) as scope:

                def fire() -> None:
                    scope.deadline = anyio.current_time()

                attempt.fire = fire
                await attempt.run()
        except TimeoutError as error:
            timed_out = type(error) is TimeoutError
            if not timed_out:
                raise
        assert timed_out == attempt.cancelled
        await anyio.lowlevel.checkpoint()  # nothing of it is left to be delivered

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(inside)
        await drive()


async def handle_cancel(attempt: Child, drive: Drive) -> None:
    async with lt.open_nursery() as nursery:
        handle = nursery.start_soon(attempt.run)
        attempt.fire = lambda: handle.cancel("by the test")
        await drive()
        attempt.outcome = await handle.outcome()
    assert isinstance(attempt.outcome, lt.Cancelled) == attempt.cancelled


async def nursery_cancel(attempt: Child, drive: Drive) -> None:
    handles: list[lt.Handle[None]] = []

    async def block() -> None:
        async with lt.open_nursery() as nursery:
            handles.append(nursery.start_soon(attempt.run))
            attempt.fire = lambda: nursery.cancel("by the test")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(block)
        await drive()
    attempt.outcome = await handles[0].outcome()
    assert isinstance(attempt.outcome, lt.Cancelled) == attempt.cancelled


async def cancel_through_wait_for(attempt: Child, drive: Drive) -> None:
    """Its own time limit has no handle; `test_exchange_limits.py` has that."""

    async def inside() -> None:
        await asyncio.wait_for(attempt.run(), 3600)

    task = asyncio.create_task(inside())
    attempt.fire = lambda: task.cancel("by the test")
    await drive()
    await asyncio.wait([task])
    assert task.cancelled() == attempt.cancelled


ON_ALL: list[Means] = [anyio_fail_after, handle_cancel, nursery_cancel]
ON_ASYNCIO: list[Means] = [*KNOWN_ON_ASYNCIO, *ON_ALL, cancel_through_wait_for]
ON_TRIO: list[Means] = [*KNOWN_ON_TRIO, *ON_ALL]


async def end_a_sleep(means: Means) -> None:
    async def sleep(attempt: Attempt) -> None:
        attempt.here()
        await anyio.sleep(60)

    async def drive() -> None:
        await attempt.reached.wait()
        attempt.cancel()

    attempt = Child(sleep, early=False)
    await means(attempt, drive)
    assert attempt.cancelled
    assert means not in NEVER_EARLY or attempt.outcome is None


@pytest.mark.asyncio_only
@pytest.mark.parametrize("means", ON_ASYNCIO, ids=name)
async def test_each_means_on_asyncio_ends_a_sleep(means: Means) -> None:
    await end_a_sleep(means)


@pytest.mark.trio_only
@pytest.mark.parametrize("means", ON_TRIO, ids=name)
async def test_each_means_on_trio_ends_a_sleep(means: Means) -> None:
    await end_a_sleep(means)
