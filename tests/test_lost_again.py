"""More of test_lost.py: what comes after the loss."""

import contextlib
import logging
import threading
import time

import anyio
import pytest

import labtether as lt
from support import PtyInstrument, TcpInstrument, replies
from test_lost import ANSWERS, FAR, Line, assert_lost, in_time, line  # noqa: F401  fixtures among them


async def test_an_idle_loss_is_in_the_log_at_once_and_only_once(line: Line, caplog: pytest.LogCaptureFixture) -> None:
    def warnings() -> list[logging.LogRecord]:
        return [record for record in caplog.records if record.name.split(".")[0] == "labtether"]

    async with line.link() as link:
        assert await link.query("ID") == "me"
        line.lose()
        async with in_time():
            while not warnings():  # nobody touches the link
                await anyio.sleep(0.001)
        assert link.state == "lost"
        for _ in range(3):
            with pytest.raises(lt.LinkLost):
                await link.query("S")
    await link.stop()
    (warning,) = warnings()
    assert warning.levelno == logging.WARNING
    assert "scale" in warning.getMessage()
    assert line.cause in warning.getMessage().lower()


async def test_what_was_said_before_the_end_is_heard() -> None:
    with TcpInstrument() as instrument:
        async with in_time(), lt.tcp(instrument.host, instrument.port, timeout=FAR) as link:
            async with anyio.create_task_group() as tasks:

                async def listen() -> None:
                    assert await link.receive() == "last words"
                    with pytest.raises(lt.LinkLost):
                        await link.receive()

                tasks.start_soon(listen)
                await anyio.wait_all_tasks_blocked()
                instrument.send(b"last words\n")
                instrument.hang_up()


async def test_an_answer_that_came_before_the_end_is_given() -> None:
    with TcpInstrument(replies({b"S": [(0.0, b"1\n"), (0.0, b"2\n")]})) as instrument:
        async with in_time(), lt.tcp(instrument.host, instrument.port, timeout=FAR) as link:
            assert await link.query("S") == "1"
            instrument.hang_up()
            with pytest.raises(lt.LinkLost):
                await link.query("S")


async def test_half_a_reply_is_in_the_error() -> None:
    with TcpInstrument(replies({b"S": b"1.2"})) as instrument:
        async with in_time(), lt.tcp(instrument.host, instrument.port, timeout=FAR) as link:
            async with anyio.create_task_group() as tasks:

                async def ask() -> None:
                    with pytest.raises(lt.LinkLost) as raised:
                        await link.query("S")
                    assert raised.value.heard == b"1.2"

                tasks.start_soon(ask)
                while not any(event.direction == "<" for event in link.trace()):
                    await anyio.sleep(0.001)
                instrument.hang_up()


@pytest.mark.parametrize("stopped", [True, False], ids=["after stop", "straight from lost"])
async def test_the_link_works_again_when_the_port_is_back(line: Line, stopped: bool) -> None:
    link = line.link()
    async with in_time():
        for _ in range(3):
            await link.setup()
            assert await link.query("ID") == "me"
            line.lose()
            with pytest.raises(lt.LinkLost):
                await link.query("S")
            line.instrument.unplug()
            if stopped:
                await link.stop()
                assert link.state == "closed"
                with pytest.raises(lt.LinkClosed):
                    await link.query("S")
            with pytest.raises(lt.OpenFailed) as failed:
                await link.setup()
            assert failed.value.kind == line.unplugged
            assert link.state == "closed"
            line.instrument.replug()
        await link.setup()
        assert await link.query("ID") == "me"
        await link.stop()


async def test_another_link_may_have_the_port_of_a_lost_one(line: Line) -> None:
    async with in_time():
        lost = await line.link().setup()
        line.lose()
        with pytest.raises(lt.LinkLost):
            await lost.query("S")
        line.instrument.unplug()
        line.instrument.replug()
        async with line.link(name="other") as other:
            assert await other.query("ID") == "me"
            assert lost.state == "lost"
            await lost.stop()
            assert await other.query("ID") == "me"


async def test_stop_of_a_dead_link_never_raises(line: Line) -> None:
    async with in_time():
        link = await line.link().setup()
        line.lose()
        await link.stop()
        assert link.state == "closed"
        await link.stop()
        link.sync.stop()


async def test_stop_while_it_is_being_lost_never_raises(line: Line) -> None:
    def lose_if_there() -> None:
        with contextlib.suppress(AssertionError):  # nobody is connected: the stop was first
            line.lose()

    async with in_time():
        for delay in range(20):
            link = await line.link().setup()
            losing = threading.Thread(target=lose_if_there)
            losing.start()
            time.sleep(delay / 20_000)
            await link.stop()
            losing.join()
            assert link.state == "closed"
            if isinstance(line.instrument, PtyInstrument):
                line.instrument.replug()


async def test_a_program_that_loses_its_link_hears_of_nothing_else(line: Line) -> None:
    with pytest.raises(lt.LinkLost) as raised:
        async with in_time(), line.link() as link:
            line.lose()
            await link.query("S")
    assert_lost(raised.value, line)
    assert raised.value.__context__ is None or isinstance(raised.value.__context__, lt.LinkLost)
    assert link.state == "closed"


async def test_a_scope_whose_link_was_lost_unnoticed_leaves_cleanly(line: Line) -> None:
    async with in_time(), line.link() as link:
        line.lose()
        while link.state != "lost":
            await anyio.sleep(0.001)
    assert link.state == "closed"


async def test_a_lost_link_does_not_touch_its_neighbour(line: Line) -> None:
    with PtyInstrument(replies(ANSWERS)) as other:
        async with in_time(), lt.serial(other.port) as neighbour, line.link() as link:
            line.lose()
            with pytest.raises(lt.LinkLost):
                await link.query("S")
            assert await neighbour.query("ID") == "me"
        assert neighbour.state == "closed"


async def test_who_asks_in_the_instant_of_the_loss_is_told_the_same(line: Line) -> None:
    async with in_time():
        for delay in range(100):
            async with line.link() as link:
                losing = threading.Thread(target=line.lose)
                losing.start()
                time.sleep(delay / 200_000)
                with pytest.raises(lt.LinkLost):
                    await link.query("S")
                losing.join()
            if isinstance(line.instrument, PtyInstrument):
                line.instrument.replug()
