"""What was set up a thousand times, has failed or was forgotten leaves no descriptor, no thread, no memory."""

import asyncio
import contextlib
import fcntl
import functools
import gc
import os
import socket
import threading
import time
import warnings
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio

import labtether as lt
from support import PtyInstrument, TcpInstrument, replies
from support.leaks import Holding, left_open

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
    link = lt.link(instrument.url)

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
            async with lt.link(instrument.url) as link:
                assert await link.query("ID") == "me"

    await cycles(WARM_UP)
    with Flat():
        await cycles(1000)


def test_a_thousand_links_without_a_loop(instrument: PtyInstrument | TcpInstrument) -> None:
    def cycles(count: int) -> None:
        for _ in range(count):
            with lt.link(instrument.url).sync as link:
                assert link.query("ID") == "me"

    cycles(WARM_UP)
    with Flat():
        cycles(1000)


async def test_a_thousand_losses() -> None:
    with TcpInstrument() as instrument:

        async def cycles(count: int) -> None:
            for _ in range(count):
                link = await lt.link(instrument.url).setup()
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
            link = lt.link(instrument.url)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(link.setup)
                await anyio.lowlevel.checkpoint()
                time.sleep(number % 50 / 100_000)  # so that Rust is somewhere else on its way each time
                tasks.cancel_scope.cancel()
            await link.stop()

    await cycles(WARM_UP)
    with Flat():
        await cycles(1000)
    async with lt.link(instrument.url) as link:
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


def repeat(work: Callable[[], object], count: int, *, forgets: bool) -> None:
    """So many times; each forgets one link or none, and is told of it before the next begins."""
    for number in range(count):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            work()
        assert [warning.category for warning in caught] == [ResourceWarning] * forgets
        assert all(here() in str(warning.message) for warning in caught)
        if number % 10 == 9:
            gc.collect()  # not all the event loops at once shall be the peak of memory


def here() -> str:
    """What a warning says of a link that this file set up."""
    return f"set up at {__file__}:"


def test_runs_that_end_mid_query_and_forget_to_close(run: Run, instrument: PtyInstrument | TcpInstrument) -> None:
    async def main() -> None:
        link = await lt.link(instrument.url, timeout=60.0).setup()
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

    repeat(lambda: run(main), WARM_UP // 4, forgets=True)
    with Flat():
        repeat(lambda: run(main), 200, forgets=True)


def test_runs_that_leave_the_link_to_the_next(run: Run, instrument: PtyInstrument | TcpInstrument) -> None:
    link = lt.link(instrument.url)
    link.sync.setup()

    async def main() -> None:
        assert await link.query("ID") == "me"

    repeat(lambda: run(main), WARM_UP // 4, forgets=False)
    with Flat():
        repeat(lambda: run(main), 200, forgets=False)
    link.sync.stop()


def test_runs_that_leave_iterators_and_exchanges_open(run: Run, instrument: PtyInstrument | TcpInstrument) -> None:
    async def main() -> None:
        link = await lt.link(instrument.url, timeout=60.0).setup()
        messages = await link.messages().__aenter__()
        poll = await link.poll("ID", every=60.0).__aenter__()
        assert (await anext(poll)).value == "me"
        talk = await link.exchange().__aenter__()
        assert messages is not None
        assert talk is not None

    repeat(lambda: run(main), WARM_UP // 4, forgets=True)
    with Flat():
        repeat(lambda: run(main), 200, forgets=True)


def test_threads_that_end_and_forget_to_close(instrument: PtyInstrument | TcpInstrument) -> None:
    def use() -> None:
        link = lt.link(instrument.url)
        link.sync.setup()
        assert link.sync.query("ID") == "me"

    def in_a_thread() -> None:
        thread = threading.Thread(target=use)
        thread.start()
        thread.join()

    repeat(in_a_thread, WARM_UP // 4, forgets=True)
    with Flat():
        repeat(in_a_thread, 200, forgets=True)


async def test_a_forgotten_link_says_where_it_was_set_up_and_frees_its_port(
    instrument: PtyInstrument | TcpInstrument,
) -> None:
    for _ in range(50):
        link = await lt.link(instrument.url, name="scale").setup()
        assert await link.query("ID") == "me"
        with pytest.warns(ResourceWarning, match=r"scale .*never stopped") as caught:
            del link
        assert here() in str(caught[0].message)
        assert len(caught) == 1
        async with lt.link(instrument.url) as following:
            assert await following.query("ID") == "me"


def test_a_forgotten_link_without_a_loop_frees_its_port_at_once(instrument: PtyInstrument | TcpInstrument) -> None:
    for _ in range(50):
        link = lt.link(instrument.url, name="scale")
        link.sync.setup()
        assert link.sync.query("ID") == "me"
        with pytest.warns(ResourceWarning, match=r"scale .*never stopped") as caught:
            del link
        assert here() in str(caught[0].message)
        with lt.link(instrument.url).sync as following:
            assert following.query("ID") == "me"


async def test_a_link_in_a_cycle_of_references_frees_its_port_for_the_next(balance: PtyInstrument) -> None:
    class Scale:
        def __init__(self) -> None:
            self.link = lt.serial(balance.port, name="scale")
            self.myself = self

    scale = Scale()
    await scale.link.setup()
    del scale
    with pytest.warns(ResourceWarning, match=r"scale .*never stopped"):
        gc.collect()
    async with lt.serial(balance.port) as following:
        assert await following.query("ID") == "me"


async def test_a_forgotten_link_parks_its_instrument(balance: PtyInstrument) -> None:
    link = await lt.serial(balance.port, park="PARK").setup()
    with pytest.warns(ResourceWarning):
        del link
    assert await balance.until_heard() == [b"PARK"]


async def test_a_link_whose_stream_is_alive_is_not_forgotten_by_rust(balance: PtyInstrument) -> None:
    link = await lt.serial(balance.port).setup()
    messages = link.messages()
    async with messages as heard:
        del link
        balance.send(b"hello\n")
        assert await anext(heard) == "hello"
    with pytest.warns(ResourceWarning):
        del messages, heard


async def test_a_pending_query_keeps_its_link(balance: PtyInstrument) -> None:
    link = await lt.serial(balance.port, timeout=60.0).setup()
    answers: list[object] = []

    async def ask(link: lt.Link[str]) -> None:
        answers.append(await link.query("S"))

    async def ask_and_forget() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, links.pop())
            await balance.until_heard()
            gc.collect()
            balance.send(b"1.5\n")
        gc.collect()

    links = [link]
    del link
    with pytest.warns(ResourceWarning):
        await ask_and_forget()
    assert answers == ["1.5"]


async def test_what_was_stopped_or_never_set_up_is_dropped_in_silence(balance: PtyInstrument) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(20):
            lt.serial(balance.port)
            link = await lt.serial(balance.port).setup()
            await link.stop()
            del link
            async with lt.serial(balance.port) as link:
                pass
            del link
            with pytest.raises(lt.OpenFailed):
                await lt.serial("/dev/no-such-port").setup()
        gc.collect()
    assert caught == []


async def test_a_lost_link_is_dropped_in_silence(balance: PtyInstrument) -> None:
    link = await lt.serial(balance.port).setup()
    balance.unplug()
    while link.state != "lost":
        await anyio.sleep(0.001)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del link
        gc.collect()
    assert caught == []


def test_memory_stays_flat_while_a_link_talks(balance: PtyInstrument) -> None:
    with lt.serial(balance.port).sync as link:

        def talk(count: int) -> None:
            for _ in range(count):
                assert link.query("ID") == "me"

        talk(2000)
        with Flat():
            talk(20_000)
