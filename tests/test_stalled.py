"""A line that takes no bytes: who writes is told, what is urgent goes, closing is bounded, nobody else notices."""

import contextlib
import gc
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import labtether as lt
from support import PtyInstrument, TcpInstrument, replies

FAR = 60.0
"""A time limit that no test reaches."""

MUCH = "x" * 500_000
"""More than a pseudo-terminal holds when its other end does not read."""

VERY_MUCH = "x" * 20_000_000
"""More than a connection holds."""

FULL = "not one byte could be written"
CUT_SHORT = "could not be written whole: the line takes no more"


@contextlib.asynccontextmanager
async def in_time() -> AsyncIterator[None]:
    """A guard against hanging, not a measurement."""
    with anyio.fail_after(10.0):
        yield


@pytest.fixture
def balance() -> Iterator[PtyInstrument]:
    with PtyInstrument(replies({b"ID": b"me\n"})) as balance:
        yield balance


@pytest.fixture(params=[PtyInstrument, TcpInstrument], ids=["pty", "tcp"])
def instrument(request: pytest.FixtureRequest) -> Iterator[PtyInstrument | TcpInstrument]:
    with request.param(replies({b"ID": b"me\n"})) as instrument:
        yield instrument


def until(condition: Callable[[], bool], what: str) -> None:
    give_up = time.monotonic() + 5.0
    while not condition():
        assert time.monotonic() < give_up, what
        time.sleep(0.002)


async def numbers_are_answered(link: lt.Link[Any], count: int) -> None:
    """A neighbour's life: `count` questions, each with its own answer."""
    for number in range(count):
        assert await link.query(f"{number}") == f"= {number}"


def fill(balance: PtyInstrument) -> None:
    """Stall the line so that it takes not one byte more. The kernel moves what it was given and has room again."""
    before = -1
    while before != (before := balance.fill()):
        time.sleep(0.02)


def forget(links: list[lt.Link[Any]]) -> None:
    links.clear()
    gc.collect()


def counting(command: bytes) -> bytes:
    return b"= " + command + b"\n"


async def test_a_full_line_times_a_send_out_and_the_error_says_so(balance: PtyInstrument) -> None:
    async with in_time(), lt.serial(balance.port) as link:
        fill(balance)
        with pytest.raises(lt.LinkTimeout, match=FULL) as raised:
            await link.send("S", timeout=0.2)
        assert isinstance(raised.value, TimeoutError)
        assert raised.value.command == "S"
        assert raised.value.effect == "never_started"
        assert raised.value.elapsed is not None
        assert link.state == "open"
        balance.resume()
        assert await link.query("ID") == "me"
        assert balance.heard == [b"ID"], "what was told to have failed before its first byte is never sent"


async def test_a_full_line_times_a_query_out_and_the_error_says_so(balance: PtyInstrument) -> None:
    async with in_time(), lt.serial(balance.port) as link:
        fill(balance)
        with pytest.raises(lt.LinkTimeout, match=FULL) as raised:
            await link.query("S", timeout=0.2)
        assert raised.value.effect == "never_started"
        balance.resume()
        assert await link.query("ID") == "me"
        assert balance.heard == [b"ID"]


async def test_a_line_that_fills_times_the_message_out(instrument: PtyInstrument | TcpInstrument) -> None:
    async with in_time(), lt.link(instrument.url, close_timeout=0.5) as link:
        instrument.stall()
        with pytest.raises(lt.LinkTimeout, match=CUT_SHORT) as raised:
            await link.send(VERY_MUCH, timeout=0.3)
        assert raised.value.effect == "unconfirmed"
        with pytest.raises(lt.LinkTimeout, match=FULL):
            await link.send("S", timeout=0.2)
        assert link.state == "open"


async def test_a_line_that_fills_times_raw_bytes_out(instrument: PtyInstrument | TcpInstrument) -> None:
    async with in_time(), lt.link(instrument.url, framing=None, close_timeout=0.5) as link:
        instrument.stall()
        with pytest.raises(lt.LinkTimeout, match="takes no more"):
            await link.write(VERY_MUCH.encode(), timeout=0.3)


async def test_a_message_is_finished_when_the_line_moves_again(balance: PtyInstrument) -> None:
    text = "y" * 100_000
    async with in_time(), lt.serial(balance.port, timeout=FAR) as link:
        balance.stall()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(link.send, text)
            await anyio.wait_all_tasks_blocked()
            assert balance.heard == []
            balance.resume()
        assert await balance.until_heard() == [text.encode()]
        assert await link.query("ID") == "me"


async def test_a_waiting_send_can_be_cancelled(instrument: PtyInstrument | TcpInstrument) -> None:
    async with in_time(), lt.link(instrument.url, timeout=FAR, close_timeout=0.5) as link:
        instrument.stall()
        for _ in range(3):
            with anyio.move_on_after(0.05) as scope:
                await link.send(VERY_MUCH)
            assert scope.cancelled_caught
        assert link.state == "open"


async def test_an_urgent_message_is_not_stuck_behind_a_full_line() -> None:
    took: list[float] = []
    for _ in range(5):
        with PtyInstrument(replies({b"ID": b"me\n"})) as balance:
            async with in_time(), lt.serial(balance.port, timeout=FAR) as link:
                balance.stall()
                with pytest.raises(lt.LinkTimeout, match=CUT_SHORT):
                    await link.send(MUCH, timeout=0.2)
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(link.send, "LATER")
                    await anyio.wait_all_tasks_blocked()
                    began = time.monotonic()
                    await link.send("HALT", urgent=True)
                    took.append(time.monotonic() - began)
                    assert b"HALT" not in balance.received, "it reads, so this shows nothing"
                    balance.resume()
                heard = await balance.until_heard(2)
                assert heard[0].strip(b"x") == b"HALT", "of the message it cut, parts may stand before it"
                assert heard[1] == b"LATER"
                assert await link.query("ID") == "me"
    assert min(took) < 0.05, f"the kernel has it within 50 ms, but for a busy machine: {took}"


async def test_an_urgent_message_overtakes_a_message_that_is_being_written() -> None:
    took: list[float] = []
    for _ in range(5):
        with PtyInstrument(replies({b"ID": b"me\n"})) as balance:
            async with in_time(), lt.serial(balance.port, timeout=FAR) as link:
                balance.stall()
                async with anyio.create_task_group() as tasks:

                    async def send_much() -> None:
                        with pytest.raises(lt.LinkBusy, match="urgent"):
                            await link.send(MUCH)

                    tasks.start_soon(send_much)
                    while not any(event.direction == ">" for event in link.trace()):
                        await anyio.lowlevel.checkpoint()
                    began = time.monotonic()
                    await link.send("HALT", urgent=True)
                    took.append(time.monotonic() - began)
                    balance.resume()
                assert (await balance.until_heard())[0].strip(b"x") == b"HALT"
                assert await link.query("ID") == "me"
    assert min(took) < 0.05, f"the kernel has it within 50 ms, but for a busy machine: {took}"


async def test_an_urgent_message_overtakes_a_query_that_cannot_be_written(balance: PtyInstrument) -> None:
    async with in_time(), lt.serial(balance.port, timeout=FAR) as link:
        balance.stall()
        with pytest.raises(lt.LinkTimeout, match=CUT_SHORT):
            await link.send(MUCH, timeout=0.2)
        async with anyio.create_task_group() as tasks:
            answers: list[object] = []

            async def ask() -> None:
                answers.append(await link.query("ID"))

            tasks.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            await link.send("HALT", urgent=True)
            balance.resume()
        assert answers == ["me"]
        assert [command.strip(b"x") for command in balance.heard] == [b"HALT", b"ID"]


async def test_closing_keeps_its_deadline(instrument: PtyInstrument | TcpInstrument) -> None:
    async with in_time():
        link = await lt.link(instrument.url, timeout=FAR, close_timeout=0.5).setup()
        instrument.stall()
        async with anyio.create_task_group() as tasks:

            async def send_much() -> None:
                with pytest.raises(lt.LinkClosed):
                    await link.send(VERY_MUCH)

            tasks.start_soon(send_much)
            await anyio.wait_all_tasks_blocked()
            began = time.monotonic()
            await link.stop()
            assert time.monotonic() - began < 1.5
        assert link.state == "closed"
        instrument.resume()
        async with lt.link(instrument.url) as again:
            instrument.send(b"ready\n")
            assert await again.receive() == "ready"


async def test_a_full_line_closes_within_its_deadline_and_opens_again(balance: PtyInstrument) -> None:
    async with in_time():
        for _ in range(3):
            link = await lt.serial(balance.port, close_timeout=0.5).setup()
            fill(balance)
            with pytest.raises(lt.LinkTimeout, match=FULL):
                await link.send("S", timeout=0.05)
            began = time.monotonic()
            await link.stop()
            assert time.monotonic() - began < 1.5
            balance.resume()


def test_a_forgotten_link_on_a_stalled_line_parks_and_lets_go(balance: PtyInstrument) -> None:
    links = [lt.serial(balance.port, close_timeout=0.5, park="PARK", name="forgotten")]
    links[0].sync.setup()
    balance.stall()
    with pytest.raises(lt.LinkTimeout):
        links[0].sync.send(MUCH, timeout=0.2)
    with pytest.warns(ResourceWarning, match="forgotten"):
        forget(links)
    with lt.serial(balance.port).sync as again:
        balance.resume()
        until(lambda: bool(balance.heard), "its last words")
        assert balance.heard[0].strip(b"x") == b"PARK"
        assert again.query("ID") == "me"


def test_a_forgotten_link_on_a_stalled_socket_does_not_outlive_its_deadline() -> None:
    with TcpInstrument() as instrument:
        links = [lt.link(instrument.url, close_timeout=0.5, park="PARK", name="forgotten")]
        links[0].sync.setup()
        instrument.stall()
        with pytest.raises(lt.LinkTimeout):
            links[0].sync.send(VERY_MUCH, timeout=0.2)
        with pytest.warns(ResourceWarning, match="forgotten"):
            forget(links)
        # That its socket and its task are gone is seen by the leak gate.


async def test_a_neighbour_is_answered_while_a_send_is_stuck(instrument: PtyInstrument | TcpInstrument) -> None:
    with PtyInstrument(counting) as fine:
        async with in_time(), lt.serial(fine.port) as neighbour:
            link = await lt.link(instrument.url, timeout=FAR, close_timeout=0.5).setup()
            instrument.stall()
            stuck = True

            async def send_much() -> None:
                nonlocal stuck
                with pytest.raises(lt.LinkClosed):
                    await link.send(VERY_MUCH)
                stuck = False

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(send_much)
                await anyio.wait_all_tasks_blocked()
                await numbers_are_answered(neighbour, 300)
                assert stuck
                await link.stop()
            await numbers_are_answered(neighbour, 10)


async def test_a_neighbour_is_answered_while_a_stalled_link_closes() -> None:
    with TcpInstrument() as instrument, PtyInstrument(counting) as fine:
        async with in_time(), lt.serial(fine.port) as neighbour:
            link = await lt.link(instrument.url, close_timeout=2.0, park="PARK").setup()
            instrument.stall()
            with pytest.raises(lt.LinkTimeout):
                await link.send(VERY_MUCH, timeout=0.2)
            # A parking message that cannot be written is what a close waits for longest: its whole deadline.
            link._wire.forget()
            while link.state == "open":
                await anyio.lowlevel.checkpoint()
            await numbers_are_answered(neighbour, 100)
            assert link.state == "closing"
            stopped = False

            async def stop() -> None:
                nonlocal stopped
                await link.stop()
                stopped = True

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(stop)
                await anyio.wait_all_tasks_blocked()
                await numbers_are_answered(neighbour, 100)
                assert not stopped, "the neighbour had its answers while stop() was waiting"
            assert stopped
            assert link.state == "closed"


async def test_a_neighbours_poll_keeps_its_pace_while_a_stalled_link_writes_and_closes(balance: PtyInstrument) -> None:
    with PtyInstrument(counting) as fine:
        async with in_time(), lt.serial(fine.port) as neighbour:
            async with neighbour.poll("1", every=0.02, count=60) as readings:
                for _ in range(4):
                    async with lt.serial(balance.port, close_timeout=0.5) as link:
                        fill(balance)
                        with pytest.raises(lt.LinkTimeout):
                            await link.send(MUCH, timeout=0.2)
                    balance.resume()
                times = [reading.monotonic async for reading in readings]
    assert len(times) == 60
    # A neighbour that held the runtime would show in every round; a busy machine may lose a beat or two.
    late = [round(after - before, 3) for before, after in itertools.pairwise(times) if after - before > 0.1]
    assert len(late) < 4, late
