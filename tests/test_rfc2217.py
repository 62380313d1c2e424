"""Serial ports behind RFC 2217: the real ser2net, pyserial's server, and servers of something else."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

import labtether as lt
from support import PtyInstrument
from support.servers import PyserialServer, Ser2net, needs_ser2net

EVERY_BYTE = bytes(range(256)) + b"\xff\xff\x00\xff\n"


def answer(command: bytes) -> bytes:
    return b"re: " + command + b"\n"


@pytest.fixture
def instrument() -> Iterator[PtyInstrument]:
    with PtyInstrument(answer) as instrument:
        yield instrument


@pytest.fixture
def ser2net(instrument: PtyInstrument, tmp_path: Path) -> Iterator[Ser2net]:
    with Ser2net(instrument.port, tmp_path) as server:
        yield server


@pytest.fixture
def pyserial(instrument: PtyInstrument) -> Iterator[PyserialServer]:
    with PyserialServer(instrument.port) as server:
        yield server


async def failure(link: lt.Link[Any]) -> lt.OpenFailed:
    with pytest.raises(lt.OpenFailed) as caught:
        await link.setup()
    assert link.state == "closed"
    return caught.value


# -- ser2net -----------------------------------------------------------------------------------------------------------


@needs_ser2net
async def test_ser2net_carries_questions_and_answers(ser2net: Ser2net) -> None:
    async with lt.rfc2217(ser2net.host, ser2net.port, 19200, parity="E", bytesize=7, stopbits=2) as link:
        for n in range(20):
            assert await link.query(f"{n}?") == f"re: {n}?"
        await link.configure(baudrate=115200, parity="N", bytesize=8, rtscts=True)
        assert await link.query("S") == "re: S"
        await link.send_break(0.01)
        await link.discard_input()
        assert await link.query("S") == "re: S"


@needs_ser2net
async def test_ser2net_carries_every_byte(ser2net: Ser2net, instrument: PtyInstrument) -> None:
    instrument.handler = lambda _: EVERY_BYTE
    async with lt.rfc2217(ser2net.host, ser2net.port, framing=None) as link:
        await link.write(EVERY_BYTE)
        sent = len(EVERY_BYTE)
        # 0x0A is among all bytes, too: two messages, two answers.
        assert await link.read(2 * sent) == EVERY_BYTE * 2
        assert await anyio.to_thread.run_sync(instrument.wait_received, sent) == EVERY_BYTE


@needs_ser2net
async def test_ser2net_says_what_it_cannot_set(ser2net: Ser2net) -> None:
    error = await failure(lt.rfc2217(ser2net.host, ser2net.port, stopbits=1.5, connect_timeout=0.5))
    assert error.kind == "unsupported"
    assert "stopbits: the server did not confirm 1.5 within 0.5 s" in str(error)
    error = await failure(lt.rfc2217(ser2net.host, ser2net.port, dsrdtr=True))
    assert error.kind == "unsupported"
    assert "flow control: asked for dsrdtr" in str(error)


@needs_ser2net
async def test_ser2net_does_not_confirm_lines_that_a_pseudo_terminal_has_not(ser2net: Ser2net) -> None:
    error = await failure(lt.rfc2217(ser2net.host, ser2net.port, dtr=True, connect_timeout=0.5))
    assert error.kind == "unsupported"
    assert "dtr: the server did not confirm it within 0.5 s" in str(error)
    async with lt.rfc2217(ser2net.host, ser2net.port, timeout=0.2) as link:
        with pytest.raises(lt.LinkTimeout, match="not confirmed"):
            await link.set_lines(rts=True)
        lines = await link.lines()
        # Its own it did not confirm; the other side's it reads as off.
        assert (lines.cts, lines.dsr, lines.dtr, lines.rts) == (False, False, None, None)
        assert await link.query("S", timeout=5) == "re: S"


@needs_ser2net
async def test_a_port_that_ser2net_has_given_to_another_is_in_use(ser2net: Ser2net) -> None:
    async with lt.rfc2217(ser2net.host, ser2net.port) as link:
        error = await failure(lt.rfc2217(ser2net.host, ser2net.port))
        assert error.kind == "in_use"
        assert "Port already in use" in str(error)
        assert await link.query("S") == "re: S"


@needs_ser2net
async def test_a_ser2net_that_dies_is_a_lost_link(ser2net: Ser2net, instrument: PtyInstrument) -> None:
    instrument.handler = lambda _: None
    async with lt.rfc2217(ser2net.host, ser2net.port) as link:
        await link.send("S")
        await instrument.until_heard()
        ser2net.kill()
        with pytest.raises(lt.LinkLost):
            await link.receive()
        assert link.state == "lost"


@needs_ser2net
def test_the_blocking_face_reaches_through_ser2net(ser2net: Ser2net) -> None:
    with lt.link(f"rfc2217://{ser2net.host}:{ser2net.port}?baudrate=4800&parity=O").sync as link:
        assert link.query("S") == "re: S"


# -- pyserial's server -------------------------------------------------------------------------------------------------


async def test_every_setting_reaches_the_port(pyserial: PyserialServer) -> None:
    port = pyserial.serial
    settings: dict[str, Any] = {"bytesize": 7, "parity": "E", "stopbits": 2, "xonxoff": True, "dtr": False, "rts": True}
    async with lt.rfc2217(pyserial.host, pyserial.port, 57600, **settings) as link:
        assert (port.baudrate, port.bytesize, port.parity, port.stopbits, port.xonxoff) == (57600, 7, "E", 2, True)
        assert (port.dtr, port.rts) == (False, True)
        await link.configure(baudrate=1200, parity="N", bytesize=8, stopbits=1, xonxoff=False)
        assert (port.baudrate, port.bytesize, port.parity, port.stopbits, port.xonxoff) == (1200, 8, "N", 1, False)
        assert await link.query("S") == "re: S"


async def test_a_setting_that_the_port_cannot_take_is_named(pyserial: PyserialServer) -> None:
    error = await failure(lt.rfc2217(pyserial.host, pyserial.port, 1_234_567))
    assert error.kind == "unsupported"
    assert "baudrate: asked for 1234567, the server has 9600" in str(error)
    async with lt.rfc2217(pyserial.host, pyserial.port, 19200) as link:
        with pytest.raises(lt.Unsupported, match="parity: asked for M, the server has N"):
            await link.configure(baudrate=300, parity="M")
        assert await link.query("S") == "re: S"
        assert (pyserial.serial.baudrate, pyserial.serial.parity) == (19200, "N")


async def test_lines_and_breaks_are_the_ports_own(pyserial: PyserialServer) -> None:
    port = pyserial.serial
    async with lt.rfc2217(pyserial.host, pyserial.port) as link:
        assert await link.lines() == lt.ModemLines(False, False, False, False, None, None)
        await link.set_lines(dtr=False, rts=True)
        assert (port.dtr, port.rts) == (False, True)
        pyserial.set_lines(cts=True, cd=True)
        lines = await link.lines()
        while not lines.cts:
            lines = await link.lines()
        assert lines == lt.ModemLines(cts=True, dsr=False, ri=False, cd=True, dtr=False, rts=True)
        await link.send_break(0.01)
        assert port.breaks == [True, False]
        assert await link.query("S") == "re: S"


async def test_input_that_has_come_to_the_server_is_discarded_there(
    pyserial: PyserialServer, instrument: PtyInstrument
) -> None:
    instrument.handler = lambda command: EVERY_BYTE if command == b"all" else answer(command)
    async with lt.rfc2217(pyserial.host, pyserial.port, framing=None) as link:
        for _ in range(20):
            await link.write(b"all\n")
            first = await link.read(1)
            await link.discard_input()
            await link.write(b"S\n")
            assert first + await link.read(6) == b"\x00re: S\n"
        assert pyserial.serial.purged == ["input"] * 20


async def test_every_byte_goes_through_pyserial(pyserial: PyserialServer, instrument: PtyInstrument) -> None:
    instrument.handler = lambda _: EVERY_BYTE
    async with lt.rfc2217(pyserial.host, pyserial.port, framing=None) as link:
        await link.write(EVERY_BYTE)
        assert await link.read(2 * len(EVERY_BYTE)) == EVERY_BYTE * 2
        assert bytes(instrument.received) == EVERY_BYTE


async def test_a_server_that_hangs_up_is_a_lost_link_and_can_be_set_up_again(pyserial: PyserialServer) -> None:
    link = lt.rfc2217(pyserial.host, pyserial.port)
    async with link:
        pyserial.hang_up()
        with pytest.raises(lt.LinkLost):
            await link.receive()
    async with link:
        assert await link.query("S") == "re: S"
    assert pyserial.clients == 2


# -- Servers of something else -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def server(says: bytes, *, hangs_up: bool = False) -> Iterator[int]:
    """Says that to who connects first, and then nothing, until he goes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            peer = listener.accept()[0]
            with peer, contextlib.suppress(ConnectionError):
                peer.sendall(says)
                while not hangs_up and peer.recv(4096):
                    pass

        thread = threading.Thread(target=serve, name="test server")
        thread.start()
        yield listener.getsockname()[1]
        thread.join(5.0)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    ("says", "hangs_up", "why"),
    [
        (b"ready\r\n", False, r"does not answer the offer of RFC 2217 within 0\.2 s \(it said 'ready\\r\\n'\)"),
        (b"\xff\xfe\x2c", False, "speaks Telnet, but refuses RFC 2217"),
        (b"bye\r\n", True, "ended the connection before the port was set up"),
    ],
)
async def test_a_server_of_something_else_is_refused(says: bytes, hangs_up: bool, why: str) -> None:
    with server(says, hangs_up=hangs_up) as port:
        error = await failure(lt.rfc2217("127.0.0.1", port, connect_timeout=0.2))
        assert error.kind == "refused"
        assert re.search(why, str(error)), str(error)


async def test_a_cancelled_setup_leaves_the_server_alone() -> None:
    with server(b"") as port:
        link = lt.rfc2217("127.0.0.1", port)
        with anyio.move_on_after(0.1):
            await link.setup()
        assert link.state == "closed"


async def test_nobody_listens_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert (await failure(lt.rfc2217("127.0.0.1", port))).kind == "refused"
    assert (await failure(lt.rfc2217("nonexistent.invalid", 2217))).kind == "missing"


# -- At the call -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "kind", "why"),
    [
        (lambda: lt.rfc2217("", 2217), ValueError, "host is empty"),
        (lambda: lt.rfc2217(1, 2217), TypeError, "host is a str"),  # type: ignore[call-overload]
        (lambda: lt.rfc2217("h", 0), ValueError, "port is at least 1"),
        (lambda: lt.rfc2217("h", 65536), ValueError, "port is at most 65535"),
        (lambda: lt.rfc2217("h", "2217"), TypeError, "port is an int"),  # type: ignore[call-overload]
        (lambda: lt.rfc2217("h", 2217, 0), ValueError, "baudrate is at least 1"),
        (lambda: lt.rfc2217("h", 2217, bytesize=9), ValueError, "bytesize is 5, 6, 7 or 8"),
        (lambda: lt.rfc2217("h", 2217, parity="X"), ValueError, "parity is one of"),
        (lambda: lt.rfc2217("h", 2217, stopbits=3), ValueError, "stopbits is 1, 1.5 or 2"),
        (lambda: lt.rfc2217("h", 2217, rtscts=1), TypeError, "rtscts is a bool"),  # type: ignore[call-overload]
        (lambda: lt.rfc2217("h", 2217, xonxoff=True, rtscts=True), ValueError, "at most one of xonxoff, rtscts"),
        (lambda: lt.rfc2217("h", 2217, connect_timeout=-1), ValueError, "connect_timeout is not negative"),
        (lambda: lt.rfc2217("h", 2217, connect_timeout=None), TypeError, "not None"),  # type: ignore[call-overload]
        (lambda: lt.rfc2217("h", 2217, exclusive=True), TypeError, "no option 'exclusive'"),  # type: ignore[call-overload]
        (lambda: lt.link("rfc2217://h"), ValueError, "is not of the form rfc2217://host:2217"),
        (lambda: lt.link("rfc2217://h:port"), ValueError, "no usable port number"),
        (lambda: lt.link("rfc2217://h:2217?exclusive=true"), ValueError, "has no setting 'exclusive'"),
        (lambda: lt.link("rfc2217://h:2217?baudrate=fast"), ValueError, "baudrate is a whole number"),
        (lambda: lt.link("rfc2217://h:2217?rtscts=1&xonxoff=1"), ValueError, "at most one"),
    ],
)
def test_bad_input_is_named_at_the_call(call: Callable[[], Any], kind: type[Exception], why: str) -> None:
    with pytest.raises(kind, match=re.escape(why)):
        call()


def test_a_url_says_what_is_unusual() -> None:
    link = lt.rfc2217("moxa", 4001, 115200, parity="E", rtscts=True, dtr=False)
    assert link.url == "rfc2217://moxa:4001?baudrate=115200&parity=E&rtscts=true&dtr=false"
    assert lt.link(link.url).url == link.url
    assert lt.link("rfc2217://[::1]:2217?connect_timeout=1").url == "rfc2217://[::1]:2217?baudrate=9600"
    assert "rfc2217://moxa:4001 115200 8E1 closed" in repr(link)
