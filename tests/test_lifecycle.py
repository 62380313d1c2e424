"""A handle belongs to no event loop (law 5); setup is all or nothing and stop always works (law 6)."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator

import anyio
import pytest
import trio

import labtether as lt
from support import PtyInstrument, Reply, TcpInstrument


def echo(command: bytes) -> Reply:
    return command + b"\n"


@pytest.fixture
def instrument() -> Iterator[PtyInstrument]:
    with PtyInstrument(echo, terminator=b"\n") as instrument:
        yield instrument


def test_a_link_set_up_in_one_run_is_used_and_stopped_in_others(instrument: PtyInstrument) -> None:
    link = asyncio.run(lt.serial(instrument.port).setup())
    assert asyncio.run(link.query("a")) == "a"
    assert trio.run(link.query, "b") == "b"
    assert link.sync.query("c") == "c"
    answers: list[str] = []
    thread = threading.Thread(target=lambda: answers.append(asyncio.run(link.query("d"))))
    thread.start()
    thread.join()
    assert answers == ["d"]
    trio.run(link.stop)
    assert link.state == "closed"


def test_a_link_is_used_from_two_loops_and_a_thread_at_once(instrument: PtyInstrument) -> None:
    wrong: list[str] = []

    async def ask(link: lt.Link[str], who: str) -> None:
        for n in range(100):
            if await link.query(f"{who} {n}") != f"{who} {n}":
                wrong.append(f"{who} {n}")

    def block(link: lt.Link[str], who: str) -> None:
        for n in range(100):
            if link.sync.query(f"{who} {n}") != f"{who} {n}":
                wrong.append(f"{who} {n}")

    with lt.serial(instrument.port).sync as sync:
        link = sync._twin
        threads = [
            threading.Thread(target=lambda: asyncio.run(ask(link, "asyncio"))),
            threading.Thread(target=lambda: trio.run(ask, link, "trio")),
            threading.Thread(target=block, args=(link, "thread")),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert len(instrument.heard) == 300


async def test_stop_works_before_setup_twice_and_from_a_thread(instrument: PtyInstrument) -> None:
    link = lt.serial(instrument.port)
    await link.stop()
    await link.setup()
    await anyio.to_thread.run_sync(link.sync.stop)
    await link.stop()
    assert link.state == "closed"
    with pytest.raises(lt.LinkClosed, match="not set up"):
        await link.query("a")
    await link.setup()
    assert await link.query("a") == "a"
    await link.stop()


async def test_setup_of_what_is_set_up_does_nothing_and_entering_it_is_busy(instrument: PtyInstrument) -> None:
    link = await lt.serial(instrument.port).setup()
    assert await link.setup() is link
    with pytest.raises(lt.LinkBusy, match=r"test_lifecycle\.py"):
        async with link:
            pytest.fail("it was entered twice")
    assert link.state == "open"
    await link.stop()


async def test_concurrent_setups_open_once(instrument: PtyInstrument) -> None:
    link = lt.serial(instrument.port)
    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(link.setup)
    opened = [event for event in link.trace() if event.note.startswith("open")]
    assert len(opened) == 1
    await link.stop()


async def test_one_cancelled_setup_does_not_take_the_others_link_away(instrument: PtyInstrument) -> None:
    link = lt.serial(instrument.port)

    async def give_up() -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await link.setup()

    async with anyio.create_task_group() as group:
        group.start_soon(link.setup)
        group.start_soon(give_up)
    assert link.state == "open"
    await link.stop()


async def test_stop_during_setup_ends_both() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        address = server.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(address)
        link = lt.tcp(address[0], address[1])

        async def set_up() -> None:
            with pytest.raises(lt.LinkClosed, match="stopped while it was being set up"):
                await link.setup()

        async with anyio.create_task_group() as group:
            group.start_soon(set_up)
            while link.state != "opening":
                await anyio.lowlevel.checkpoint()
            await link.stop()
        for one in waiting:
            one.close()
    assert link.state == "closed"


async def test_stop_fails_what_waits(instrument: PtyInstrument) -> None:
    with PtyInstrument() as silent:
        link = await lt.serial(silent.port).setup()

        async def ask() -> None:
            with pytest.raises(lt.LinkClosed, match="stopped"):
                await link.query("a")

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(ask)
            await silent.until_heard(1)
            await link.stop()


def test_a_forgotten_link_closes_itself_and_its_port_is_free_for_the_next(instrument: PtyInstrument) -> None:
    links = [asyncio.run(lt.serial(instrument.port, park="PARK").setup())]

    def forget() -> None:
        links.clear()
        gc.collect()

    with pytest.warns(ResourceWarning, match=r"was never stopped; set up .*test_lifecycle\.py"):
        forget()
    with lt.serial(instrument.port).sync as second:
        assert second.query("a") == "a"
    assert instrument.heard == [b"PARK", b"a"]


def test_parking_is_for_those_whom_python_does_not_stop(instrument: PtyInstrument) -> None:
    with lt.serial(instrument.port, park="PARK").sync as link:
        assert link.query("a") == "a"
    assert instrument.heard == [b"a"]


async def test_a_reply_to_the_session_before_is_not_heard_in_the_next(instrument: PtyInstrument) -> None:
    def late(command: bytes) -> Reply:
        return [(0.01, b"late\n")] if command == b"SLOW" else command + b"\n"

    with TcpInstrument(late, terminator=b"\n") as slow:
        link = lt.tcp(slow.host, slow.port)
        for n in range(5):
            async with link:
                with pytest.raises(lt.LinkTimeout):
                    await link.query("SLOW", timeout=0)
            async with link:
                assert await link.query(f"{n}") == f"{n}"


async def test_the_body_of_a_scope_may_fail_and_the_port_is_free_afterwards(instrument: PtyInstrument) -> None:
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            async with lt.serial(instrument.port) as link:
                await link.query("a")
                raise ZeroDivisionError


async def test_what_happens_in_the_background_is_logged_at_once(
    instrument: PtyInstrument, caplog: pytest.LogCaptureFixture
) -> None:
    link = await lt.serial(instrument.port, name="psu").setup()
    instrument.unplug()
    while "psu is gone" not in caplog.text:
        await anyio.sleep(0.001)
    with pytest.raises(lt.LinkLost):
        await link.query("a")
    await link.stop()
