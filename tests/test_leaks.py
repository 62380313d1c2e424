"""What was set up a thousand times, has failed or was forgotten leaves no descriptor, no thread, no memory."""

import asyncio
import contextlib
import fcntl
import functools
import gc
import os
import socket
import sys
import time
import warnings
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio

import labtether as lt
from labtether.testing._leaks import Holding, left_open
from support import PtyInstrument, TcpInstrument, replies

SETTLE = 0.001
"""Before the first question: these instruments are quiet, and the links many."""
WARM_UP = 200
"""Cycles after which caches, pools and arenas have the size that they keep."""

GROWTH = 1.5
"""MiB that a thousand cycles may add: the noise of an allocator. A leak of one scratch buffer each would be four."""

ANSWERS = {b"ID": b"me\n"}


def resident() -> float:
    """MiB of memory."""
    gc.collect()
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


class Flat:
    """`with Flat():` fails if more is held after the block than before, by name, or if memory has grown."""

    def __enter__(self) -> None:
        self.memory = resident()
        self.before = Holding.now()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is None:
            assert left_open(self.before) == []
            growth = resident() - self.memory
            assert growth < GROWTH, f"{growth:.2f} MiB more"


@pytest.fixture(params=[PtyInstrument, TcpInstrument], ids=["pty", "tcp"])
def instrument(request: pytest.FixtureRequest) -> Iterator[PtyInstrument | TcpInstrument]:
    with request.param(replies(ANSWERS)) as instrument:
        yield instrument


@pytest.fixture
def balance() -> Iterator[PtyInstrument]:
    with PtyInstrument(replies(ANSWERS)) as balance:
        yield balance


# -- set up and stopped ------------------------------------------------------------------------------------------------


async def test_a_thousand_cycles_of_one_link(instrument: PtyInstrument | TcpInstrument) -> None:
    link = lt.link(instrument.url, settle=SETTLE)

    async def cycles(count: int) -> None:
        for _ in range(count):
            await link.setup()
            await link.stop()

    await cycles(WARM_UP)
    with Flat():
        await cycles(1000)


async def test_a_thousand_links_one_after_the_other(instrument: PtyInstrument | TcpInstrument) -> None:
    async def cycles(count: int) -> None:
        for _ in range(count):
            async with lt.link(instrument.url, settle=SETTLE) as link:
                assert await link.query("ID") == "me"

    await cycles(WARM_UP)
    with Flat():
        await cycles(1000)


def test_a_thousand_links_without_a_loop(instrument: PtyInstrument | TcpInstrument) -> None:
    def cycles(count: int) -> None:
        for _ in range(count):
            with lt.link(instrument.url, settle=SETTLE).sync as link:
                assert link.query("ID") == "me"

    cycles(WARM_UP)
    with Flat():
        cycles(1000)


async def test_a_thousand_losses() -> None:
    with TcpInstrument() as instrument:

        async def cycles(count: int) -> None:
            for _ in range(count):
                link = await lt.link(instrument.url, settle=SETTLE).setup()
                instrument.reset()
                with pytest.raises(lt.LinkLost):
                    await link.query("S")
                await link.stop()

        await cycles(WARM_UP)
        with Flat():
            await cycles(1000)


async def test_a_thousand_timeouts_and_cancelled_queries(balance: PtyInstrument) -> None:
    async with lt.serial(balance.port, drain=0.0, settle=0.0) as link:

        async def cycles(count: int) -> None:
            for _ in range(count):
                with pytest.raises(lt.LinkTimeout):
                    await link.query("S", timeout=0.0005)
                with anyio.move_on_after(0.0005), contextlib.suppress(lt.LinkTimeout):
                    await link.query("S", timeout=0.002)

        await cycles(WARM_UP)
        with Flat():
            await cycles(1000)


# -- not set up --------------------------------------------------------------------------------------------------------


async def fails(make: Callable[[], lt.Link[Any]], error: type[lt.LinkError], count: int) -> None:
    for _ in range(count):
        link = make()
        with pytest.raises(error):
            await link.setup()
        assert link.state == "closed"


async def test_a_thousand_ports_that_are_not_there() -> None:
    make = functools.partial(lt.serial, "/dev/no-such-port")
    await fails(make, lt.OpenFailed, WARM_UP)
    with Flat():
        await fails(make, lt.OpenFailed, 1000)


async def test_a_thousand_ports_that_are_none(balance: PtyInstrument) -> None:
    make = functools.partial(lt.serial, "/dev/null")
    await fails(make, lt.OpenFailed, WARM_UP)
    with Flat():
        await fails(make, lt.OpenFailed, 1000)


async def test_a_thousand_refused_connections() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    make = functools.partial(lt.tcp, "127.0.0.1", port)
    await fails(make, lt.OpenFailed, WARM_UP)
    with Flat():
        await fails(make, lt.OpenFailed, 1000)


async def test_a_thousand_ports_that_another_link_has(balance: PtyInstrument) -> None:
    make = functools.partial(lt.serial, balance.port)
    async with lt.serial(balance.port) as link:
        await fails(make, lt.LinkBusy, WARM_UP)
        with Flat():
            await fails(make, lt.LinkBusy, 1000)
        assert await link.query("ID") == "me"


async def test_a_thousand_ports_that_another_program_has(balance: PtyInstrument) -> None:
    number = os.open(balance.port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        make = functools.partial(lt.serial, balance.port)
        await fails(make, lt.OpenFailed, WARM_UP)
        with Flat():
            await fails(make, lt.OpenFailed, 1000)
    finally:
        os.close(number)
    async with lt.serial(balance.port) as link:
        assert await link.query("ID") == "me"


async def test_a_thousand_cancelled_setups(instrument: PtyInstrument | TcpInstrument) -> None:
    async def cycles(count: int) -> None:
        for number in range(count):
            link = lt.link(instrument.url, settle=SETTLE)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(link.setup)
                await anyio.lowlevel.checkpoint()
                time.sleep(number % 50 / 100_000)  # so that Rust is somewhere else on its way each time
                tasks.cancel_scope.cancel()
            await link.stop()

    await cycles(WARM_UP)
    with Flat():
        await cycles(1000)
    async with lt.link(instrument.url, settle=SETTLE) as link:
        assert await link.query("ID") == "me"


# -- forgotten ---------------------------------------------------------------------------------------------------------


Run = Callable[[Callable[[], Awaitable[None]]], None]


def run_asyncio(main: Callable[[], Awaitable[None]]) -> None:
    async def coroutine() -> None:
        await main()

    asyncio.run(coroutine())


def run_uvloop(main: Callable[[], Awaitable[None]]) -> None:
    import uvloop

    async def coroutine() -> None:
        await main()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(coroutine())


def run_trio(main: Callable[[], Awaitable[None]]) -> None:
    trio.run(main)


RUNS = {"asyncio": run_asyncio, "uvloop": run_uvloop, "trio": run_trio}


@pytest.fixture(params=RUNS)
def run(request: pytest.FixtureRequest) -> Run:
    return RUNS[request.param]


def repeat(work: Callable[[], object], count: int, *, forgets: bool, held: bool = False) -> None:
    """So many times; each forgets one link or none, and is told of it before the next begins."""
    for number in range(count):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            work()
            if held and sys.version_info >= (3, 12):
                # The frames of a task that asyncio.run cancels at its end lead to the frame that cancelled it, which
                # holds the task: without any help of ours, it goes when the collector comes.
                gc.collect()
        assert [warning.category for warning in caught] == [ResourceWarning] * forgets
        assert all(here() in str(warning.message) for warning in caught)
        if number % 10 == 9:
            gc.collect()  # not all the event loops at once shall be the peak of memory


def here() -> str:
    """What the place where a link was set up begins with, in this file and the one that continues it."""
    return __file__.removesuffix(".py").removesuffix("_forgotten")


def test_runs_that_end_mid_query_and_forget_to_close(run: Run, instrument: PtyInstrument | TcpInstrument) -> None:
    async def main() -> None:
        link = await lt.link(instrument.url, timeout=60.0, settle=SETTLE).setup()
        assert await link.query("ID") == "me"
        if run is run_trio:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(link.query, "S")
                await anyio.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
        else:
            query = asyncio.create_task(link.query("S"))
            await anyio.wait_all_tasks_blocked()
            assert not query.done()

    repeat(lambda: run(main), WARM_UP // 4, forgets=True, held=run is not run_trio)
    with Flat():
        repeat(lambda: run(main), 200, forgets=True, held=run is not run_trio)
