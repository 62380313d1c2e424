"""The other end goes away: unplugged, reset, hung up. One typed error for all who ask, and a way back."""

import contextlib
import errno
import threading
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
