"""sleep, sleep_until and pause. Times are lower bounds: how late a busy machine is says nothing."""

import asyncio
import math
import time
from datetime import UTC, datetime
from functools import partial
from typing import Any

import anyio
import pytest

import labtether as lt
from labtether import _core
from support.together import Worker, turns, until

FAR = 1000.0


async def test_a_sleep_is_not_shorter_than_it_says() -> None:
    for seconds in (0.0, 0.001, 0.02):
        began = time.monotonic()
        await lt.sleep(seconds)
        assert time.monotonic() - began >= seconds


async def test_sleep_until_is_not_early() -> None:
    for seconds in (0.001, 0.02):
        at = time.time() + seconds
        await lt.sleep_until(at)
        assert time.time() >= at
    await lt.sleep_until(datetime.now(UTC).timestamp() + 0.001)


async def test_times_that_have_passed_are_over_at_once_and_let_others_run() -> None:
    ran: list[str] = []

    async def other() -> None:
        ran.append("other")

    for wait in (partial(lt.sleep, 0), partial(lt.sleep_until, 0), partial(lt.sleep_until, -5.0), lt.pause):
        ran.clear()
        async with anyio.create_task_group() as group:
            group.start_soon(other)
            await wait()
            await wait()
            assert ran == ["other"]
    await lt.sleep_until(-math.inf)
    await lt.sleep_until(time.time() - 1)


async def test_many_sleep_at_once_and_wake_in_order() -> None:
    order: list[float] = []

    async def sleeper(seconds: float) -> None:
        await lt.sleep(seconds)
        order.append(seconds)

    spans = [0.01 * number for number in range(8, 0, -1)]
    async with anyio.create_task_group() as group:
        for seconds in spans:
            group.start_soon(sleeper, seconds)
    assert order == sorted(spans)


async def test_the_time_passes_while_the_loop_is_blocked() -> None:
    async with anyio.create_task_group() as group:
        over: list[str] = []

        async def sleeper() -> None:
            await lt.sleep(0.03)
            over.append("slept")

        async def until_sleeper() -> None:
            await lt.sleep_until(time.time() + 0.03)
            over.append("slept until")

        group.start_soon(sleeper)
        group.start_soon(until_sleeper)
        await turns()
        time.sleep(0.06)  # the loop is blocked for longer than both
        # What is over is over: a few turns are enough, no time has to pass.
        await until(lambda: len(over) == 2)


@pytest.mark.parametrize(
    "wait", [lambda: lt.sleep(FAR), lambda: lt.sleep_until(time.time() + FAR), lambda: lt.sleep(math.inf)]
)
async def test_a_cancelled_sleep_is_over_at_once(wait: Any) -> None:
    began = time.monotonic()
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(wait)
        await turns()
        group.cancel_scope.cancel()
    assert time.monotonic() - began < 1.5, "CANCEL_TIMEOUT was waited for"
    with anyio.move_on_after(0.001) as scope:
        await wait()
    assert scope.cancelled_caught


async def test_a_due_cancellation_is_delivered_by_each() -> None:
    for wait in (lt.pause, lambda: lt.sleep(0), lambda: lt.sleep(FAR), lambda: lt.sleep_until(0)):
        with anyio.CancelScope() as scope:
            scope.cancel()
            await wait()
        assert scope.cancelled_caught


@pytest.mark.asyncio_only
async def test_a_task_that_is_cancelled_twice_ends_once() -> None:
    task = asyncio.create_task(lt.sleep(FAR))
    await turns()
    task.cancel()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_pause_lets_every_other_run_once() -> None:
    order: list[str] = []

    async def run(name: str) -> None:
        for _ in range(3):
            order.append(name)
            await lt.pause()

    async with anyio.create_task_group() as group:
        for name in "abc":
            group.start_soon(run, name)
    assert [sorted(order[at : at + 3]) for at in (0, 3, 6)] == [["a", "b", "c"]] * 3


def test_blocking() -> None:
    began = time.monotonic()
    _core.block_on(lt.sleep, 0.02)
    assert time.monotonic() - began >= 0.02
    _core.block_on(lt.sleep, 0)
    _core.block_on(lt.pause)
    _core.block_on(lt.sleep_until, 0)

    def in_thread() -> None:
        at = time.time() + 0.01
        _core.block_on(lt.sleep_until, at)
        assert time.time() >= at

    Worker(in_thread).finish()


@pytest.mark.parametrize("wait", [lt.sleep, lt.sleep_until])
async def test_what_is_no_time(wait: Any) -> None:
    for wrong in (True, "1", None, 1j, b"1"):
        with pytest.raises(TypeError, match="number of seconds"):
            await wait(wrong)
    with pytest.raises(ValueError, match="nan"):
        await wait(math.nan)


async def test_a_negative_span_is_refused() -> None:
    for wrong in (-1, -0.001, -math.inf):
        with pytest.raises(ValueError, match="seconds is not negative"):
            await lt.sleep(wrong)
