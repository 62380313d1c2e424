"""Virtual time: what takes seconds takes none, to the nanosecond, and the same on every run. No test looks at how long
it took really."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest
import trio

import labtether as lt
from labtether.testing import VirtualTime

SETTLES = 0.4
"""Seconds in which the balance finds a stable weight, which `S` waits for."""

PROMPT = 0.001
"""Seconds in which it answers everything else."""

START = 1000.0
"""What the monotonic clock shows when virtual time begins."""


def balance(**options: Any) -> lt.Link[str]:
    link: lt.Link[str] = lt.link("sim://balance", **options)
    return link


def conversation(link: lt.Link[str]) -> list[tuple[float, str, bytes | None, str | None]]:
    """All that is in the trace."""
    return [(event.monotonic, event.direction, event.data, event.note) for event in link.trace()]


async def test_a_timeout_takes_its_time_and_no_more(virtual_time: VirtualTime) -> None:
    async with balance() as scale:
        with pytest.raises(lt.LinkTimeout) as silent:
            await scale.query("QUIET", timeout=30)
        assert virtual_time.elapsed == 30.0
    assert silent.value.elapsed == 30.0


def test_a_timeout_of_the_blocking_face(virtual_time: VirtualTime) -> None:
    with balance().sync as scale:
        with pytest.raises(lt.LinkTimeout) as silent:
            scale.query("QUIET", timeout=30)
        assert virtual_time.elapsed == 30.0
    assert silent.value.elapsed == 30.0


async def test_readings_come_at_their_beats_exactly(virtual_time: VirtualTime) -> None:
    async with balance() as scale:
        readings = [reading async for reading in scale.poll("SI", every=1.0, count=100, parse=lt.number)]
    assert [reading.monotonic for reading in readings] == [START + beat + PROMPT for beat in range(100)]
    began = datetime(2026, 1, 1, tzinfo=UTC).timestamp() + START
    assert [reading.time for reading in readings] == pytest.approx([began + beat for beat in range(100)], abs=0.01)
    assert virtual_time.elapsed == 99 + PROMPT


async def test_a_stream_and_a_wait_for_silence(virtual_time: VirtualTime) -> None:
    async with balance() as scale:
        async with scale.messages() as heard:
            await scale.send("SIR")
            stream = [await anext(heard) for _ in range(50)]
        assert len(stream) == 50
        elapsed = virtual_time.elapsed
        assert elapsed == pytest.approx(4.9, abs=0.2)
        await scale.send("C")
        with pytest.raises(lt.LinkTimeout):
            while True:
                await scale.receive(timeout=2.0)
    assert virtual_time.elapsed - elapsed == pytest.approx(2.0, abs=0.2)


def compute(seconds: float) -> None:
    """Real time, in which nothing is waited for."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


async def test_time_does_not_pass_while_a_test_computes(virtual_time: VirtualTime) -> None:
    async with balance(keepalive=lt.KeepAlive("SI", every=1.0)) as scale:
        await lt.sleep(10.5)
        kept = len(scale.trace())
        compute(1.2)
        time.sleep(0.05)
        assert len(scale.trace()) == kept
        assert virtual_time.elapsed == 10.5
        await lt.sleep(1)
        assert scale.trace()[kept].data == b"SI\r\n"


def test_time_does_not_pass_while_a_thread_computes(virtual_time: VirtualTime) -> None:
    with balance(keepalive=lt.KeepAlive("SI", every=1.0)).sync as scale:
        virtual_time.advance(10.5)
        kept = len(scale.trace())
        compute(1.2)
        assert len(scale.trace()) == kept
        assert virtual_time.elapsed == 10.5


@pytest.mark.parametrize(("timeout", "answered"), [(SETTLES + 1e-4, True), (SETTLES - 1e-4, False)])
async def test_a_reply_that_is_a_tenth_of_a_millisecond_early_beats_its_timeout(
    virtual_time: VirtualTime, timeout: float, answered: bool
) -> None:
    told: list[Any] = []
    for _ in range(50):
        began = virtual_time.monotonic
        async with balance() as scale:
            try:
                reply = await scale.query("S", timeout=timeout)
            except lt.LinkTimeout as silence:
                reply = str(silence)
            told.append((reply.startswith("S S"), [(round(at - began, 9), *rest) for at, *rest in conversation(scale)]))
    assert told == [told[0]] * 50
    assert told[0][0] is answered


async def own_sleep(backend: str, seconds: float) -> None:
    if backend == "trio":
        await trio.sleep(seconds)
    else:
        await asyncio.sleep(seconds)


async def test_loops_sleep_by_the_same_clock(virtual_time: VirtualTime, backend: str) -> None:
    await own_sleep(backend, 30)
    assert virtual_time.elapsed == 30.0
    await lt.sleep(30)
    assert virtual_time.elapsed == 60.0
    await anyio.sleep(30)
    assert virtual_time.elapsed == 90.0
    with anyio.move_on_after(5) as scope:
        await lt.sleep(math.inf)
    assert scope.cancelled_caught
    assert virtual_time.elapsed == 95.0


async def test_tasks_that_sleep_by_either_clock_wake_in_order(virtual_time: VirtualTime, backend: str) -> None:
    order: list[tuple[float, str]] = []

    async def sleeper(name: str, wait: Callable[[float], Awaitable[None]], span: float) -> None:
        for _ in range(20):
            await wait(span)
            order.append((virtual_time.elapsed, name))

    async def loops_own(span: float) -> None:
        await own_sleep(backend, span)

    async with anyio.create_task_group() as group:
        group.start_soon(sleeper, "ours", lt.sleep, 0.3)
        group.start_soon(sleeper, "loop's", loops_own, 0.7)
        group.start_soon(sleeper, "anyio's", anyio.sleep, 0.11)
    assert order == sorted(order, key=lambda entry: entry[0])
    assert virtual_time.elapsed == pytest.approx(14.0, abs=1e-9)
    assert [round(at, 6) for at, name in order if name == "ours"] == [round(0.3 * n, 6) for n in range(1, 21)]


@pytest.mark.asyncio_only
async def test_asyncio_timeouts_and_callbacks(virtual_time: VirtualTime) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(7):
            await asyncio.Event().wait()
    assert virtual_time.elapsed == pytest.approx(7.0, abs=1e-8)
    loop, called = asyncio.get_running_loop(), asyncio.Event()
    began = loop.time()
    loop.call_later(1, called.set)
    never = loop.call_later(0.5, pytest.fail, "it was cancelled")
    never.cancel()
    await called.wait()
    assert loop.time() - began == pytest.approx(1.0, abs=1e-8)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.sleep(100), 3)
    assert virtual_time.elapsed == pytest.approx(11.0, abs=1e-7)


async def test_the_deadline_of_a_nursery(virtual_time: VirtualTime) -> None:
    with pytest.raises(TimeoutError):
        async with lt.open_nursery(timeout=60) as nursery:
            nursery.start_soon(lt.sleep, math.inf)
    assert virtual_time.elapsed == 60.0


async def test_races_locks_and_times_of_day(virtual_time: VirtualTime) -> None:
    async def slow() -> str:
        await lt.sleep(20)
        return "slow"

    async def fast() -> str:
        await lt.sleep(10)
        return "fast"

    assert (await lt.race(slow, fast)) is not None
    assert virtual_time.elapsed == 10.0
    await lt.sleep_until(virtual_time.now + 3600)
    assert virtual_time.elapsed == pytest.approx(3610.0, abs=1e-6)
    lock, order = lt.Lock("bench"), []

    async def hold(name: str) -> None:
        async with lock:
            order.append((name, round(virtual_time.elapsed)))
            await lt.sleep(100)

    async with anyio.create_task_group() as group:
        for name in "abc":
            group.start_soon(hold, name)
    assert order == [("a", 3610), ("b", 3710), ("c", 3810)] or sorted(at for _, at in order) == [3610, 3710, 3810]


async def two_tasks(clock: VirtualTime) -> list[Any]:
    """Two polls and a query that meet at the same moments, and what each came to know when."""
    began, told = clock.monotonic, list[Any]()

    async def poll(name: str, scale: lt.Link[str], every: float) -> None:
        async for reading in scale.poll("SI", every=every, count=8):
            told.append((name, round(reading.monotonic - began, 9), reading.value))
            await lt.pause()
            told.append((name, "and on"))

    async def weigh(scale: lt.Link[str]) -> None:
        for _ in range(3):
            told.append((await scale.query("S"), round(clock.monotonic - began, 9)))

    async with balance(name="one") as one, balance(name="two") as two, anyio.create_task_group() as group:
        group.start_soon(poll, "one", one, 1.0)
        group.start_soon(poll, "two", two, 0.5)
        group.start_soon(weigh, two)
        group.start_soon(lt.sleep, 3)
    for link in (one, two):
        told += [(round(at - began, 9), *rest) for at, *rest in conversation(link)]
    return told


@pytest.mark.backends("asyncio", "uvloop")
async def test_what_happens_at_one_moment_happens_in_the_same_order_on_every_run(virtual_time: VirtualTime) -> None:
    first = await two_tasks(virtual_time)
    for _ in range(20):
        assert await two_tasks(virtual_time) == first


def test_code_without_a_loop_lets_time_pass(virtual_time: VirtualTime) -> None:
    with balance().sync as scale, scale.messages() as heard:
        scale.send("SIR")
        virtual_time.advance(1.05)
        assert virtual_time.elapsed == 1.05
        assert sum(1 for event in scale.trace() if event.direction == "<") == 11
        next(heard)
    for wrong in (-1, math.nan, math.inf):
        with pytest.raises(ValueError, match="seconds"):
            virtual_time.advance(wrong)


async def test_a_loop_that_would_be_blocked_says_so(virtual_time: VirtualTime) -> None:
    with pytest.raises(RuntimeError, match=r"await lt\.sleep"):
        virtual_time.advance(1)


def test_it_says_how_far_it_is() -> None:
    clock = lt.testing.virtual_time()
    assert repr(clock) == "<virtual_time not entered>"
    with clock:
        clock.advance(12.5)
        assert repr(clock).startswith("<virtual_time standing, 12.5 s in ")
    assert repr(clock).startswith("<virtual_time over, 12.5 s in ")
    with pytest.raises(RuntimeError, match="not on"):
        clock.advance(1)
    with pytest.raises(RuntimeError, match="entered once"), clock:
        pass
