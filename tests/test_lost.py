"""The other end goes away: unplugged, reset, hung up. One typed error for all who ask, and a way back."""

import contextlib
import errno
import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest

import labtether as lt
from support import PtyInstrument, TcpInstrument, replies

FAR = 60.0
"""A time limit that no test reaches: what ends sooner was not ended by it."""

SOON = 5.0
"""What comes at once comes long before this."""

ANSWERS = {b"ID": b"me\n"}


@dataclass
class Line:
    """A line to an instrument, and the way it is going to be lost."""

    instrument: PtyInstrument | TcpInstrument
    lose: Callable[[], None]
    errno: int | None
    cause: str
    unplugged: str
    """The kind of failure of an opening while the instrument is unplugged."""

    def link(self, **options: Any) -> lt.Link[Any]:
        return lt.link(self.instrument.url, **{"timeout": FAR, "name": "scale", **options})


@pytest.fixture(params=["unplugged pty", "reset", "end of file"])
def line(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Line]:
    if request.param == "unplugged pty":
        with PtyInstrument(replies(ANSWERS), at=tmp_path / "tty") as pty:
            yield Line(pty, pty.unplug, None, "hung up", "missing")
    else:
        with TcpInstrument(replies(ANSWERS)) as tcp:
            if request.param == "reset":
                yield Line(tcp, tcp.reset, errno.ECONNRESET, "reset", "refused")
            else:
                yield Line(tcp, tcp.hang_up, None, "closed the connection", "refused")


@contextlib.asynccontextmanager
async def in_time() -> AsyncIterator[None]:
    """A guard against hanging, not a measurement."""
    with anyio.fail_after(SOON):
        yield


def assert_lost(error: BaseException, line: Line) -> None:
    """What a user is told."""
    assert type(error) is lt.LinkLost
    assert isinstance(error, ConnectionError)
    assert isinstance(error, lt.LinkError)
    assert error.errno == line.errno
    assert line.cause in str(error).lower(), str(error)
    assert error.link == "scale"
    assert error.port is not None


async def query(link: lt.Link[Any]) -> object:
    return await link.query("S")


async def receive(link: lt.Link[Any]) -> object:
    return await link.receive()


async def exchange(link: lt.Link[Any]) -> object:
    async with link.exchange() as talk:
        await talk.send("S")
        return await talk.receive()


async def exchange_read(link: lt.Link[Any]) -> object:
    async with link.exchange() as talk:
        await talk.send("S")
        return await talk.read(3)


async def poll_step(link: lt.Link[Any]) -> object:
    async with link.poll("S", every=FAR) as readings:
        return await anext(readings)


async def messages_step(link: lt.Link[Any]) -> object:
    async with link.messages() as heard:
        return await anext(heard)


async def read(link: lt.Link[Any]) -> object:
    return await link.read(3)


async def read_until(link: lt.Link[Any]) -> object:
    return await link.read_until(b">")


async def read_some(link: lt.Link[Any]) -> object:
    return await link.read_some()


async def send(link: lt.Link[Any]) -> object:
    await link.send("S")
    return None


async def send_at_once(link: lt.Link[Any]) -> object:
    await link.send("S", urgent=True)
    return None


async def write(link: lt.Link[Any]) -> object:
    await link.write(b"S")
    return None


async def discard_input(link: lt.Link[Any]) -> object:
    await link.discard_input()
    return None


Wait = Callable[[lt.Link[Any]], Awaitable[object]]
MESSAGES: list[Wait] = [query, receive, exchange, exchange_read, poll_step, messages_step]
BYTES: list[Wait] = [read, read_until, read_some]


def name_of(wait: Wait) -> str:
    return getattr(wait, "__name__", "wait")


@pytest.mark.parametrize("wait", MESSAGES + BYTES, ids=name_of)
async def test_who_waits_and_who_comes_next_are_both_told(line: Line, wait: Wait) -> None:
    told: list[BaseException] = []
    link = line.link(framing=None) if wait in BYTES else line.link()

    async def wait_for_it() -> None:
        with pytest.raises(lt.LinkLost) as raised:
            await wait(link)
        told.append(raised.value)

    async with in_time(), link:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait_for_it)
            if wait in (query, exchange, exchange_read, poll_step):
                await line.instrument.until_heard()
            await anyio.wait_all_tasks_blocked()
            assert told == []
            line.lose()
        assert link.state == "lost"
        with pytest.raises(lt.LinkLost) as raised:
            await wait(link)
        told.append(raised.value)
    assert link.state == "closed"
    assert len(told) == 2
    for error in told:
        assert_lost(error, line)


async def test_every_call_on_a_lost_link_is_told_the_same(line: Line) -> None:
    async with in_time():
        for framing, waits in (("\n", [*MESSAGES, send, send_at_once, discard_input]), (None, [*BYTES, write])):
            async with line.link(framing=framing) as link:
                line.lose()
                with pytest.raises(lt.LinkLost):
                    await (query(link) if framing else read(link))
                for wait in waits:
                    for _ in range(2):
                        with pytest.raises(lt.LinkLost) as raised:
                            await wait(link)
                        assert_lost(raised.value, line)
                        assert link.state == "lost"
            if isinstance(line.instrument, PtyInstrument):
                line.instrument.replug()


async def test_all_who_wait_are_told(line: Line) -> None:
    told: list[BaseException] = []

    async def wait_for_it(wait: Wait) -> None:
        with pytest.raises(lt.LinkLost) as raised:
            await wait(link)
        told.append(raised.value)

    async with in_time(), line.link() as link:
        async with anyio.create_task_group() as tasks:
            for wait in [query, query, exchange, receive, messages_step, poll_step]:
                tasks.start_soon(wait_for_it, wait)
            await line.instrument.until_heard()
            await anyio.wait_all_tasks_blocked()
            line.lose()
    assert len(told) == 6
    for error in told:
        assert_lost(error, line)


async def test_the_question_is_named_in_the_error(line: Line) -> None:
    async with in_time(), line.link() as link:
        async with anyio.create_task_group() as tasks:

            async def ask() -> None:
                with pytest.raises(lt.LinkLost) as raised:
                    await link.query("WEIGH")
                assert raised.value.command == "WEIGH"
                assert raised.value.elapsed is not None
                assert raised.value.port is not None
                assert any("WEIGH" in note for note in raised.value.__notes__)

            tasks.start_soon(ask)
            await line.instrument.until_heard()
            line.lose()


async def test_a_blocked_thread_is_told_too(line: Line) -> None:
    told: list[BaseException] = []

    def ask() -> None:
        try:
            link.sync.query("S")
        except lt.LinkError as error:
            told.append(error)

    async with in_time(), line.link() as link:
        thread = threading.Thread(target=ask)
        thread.start()
        await line.instrument.until_heard()
        line.lose()
        thread.join(SOON)
        assert not thread.is_alive()
    assert len(told) == 1
    assert_lost(told[0], line)


def test_without_a_loop(line: Line) -> None:
    with line.link().sync as link:
        assert link.query("ID") == "me"
        line.lose()
        for _ in range(2):
            with pytest.raises(lt.LinkLost) as raised:
                link.query("S")
            assert_lost(raised.value, line)
        assert link.state == "lost"
    assert link.state == "closed"


async def test_a_send_that_the_line_did_not_take_is_told(line: Line) -> None:
    async with in_time(), line.link() as link:
        line.instrument.stall()
        async with anyio.create_task_group() as tasks:

            async def send_much() -> None:
                with pytest.raises(lt.LinkLost):  # of any cause: who hangs up with bytes unread resets
                    await link.send("x" * 20_000_000)

            tasks.start_soon(send_much)
            await anyio.wait_all_tasks_blocked()
            line.lose()


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
