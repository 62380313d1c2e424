"""What a TCP link can be given: seen at the socket itself, and by the other side."""

from __future__ import annotations

import os
import socket
import stat
import sys
from collections.abc import Iterator

import pytest

import labtether as lt
from support import TcpInstrument

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the link's own socket is found in /proc")


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        yield server


def links_socket(peer: tuple[str, int]) -> socket.socket:
    """A copy of the link's own socket, found by its address: no option of it can be seen from the other side."""
    for number in os.listdir("/proc/self/fd"):
        try:
            if not stat.S_ISSOCK(os.fstat(int(number)).st_mode):
                continue
        except OSError:
            # The listing's own, which is closed by now.
            continue
        copy = socket.socket(fileno=os.dup(int(number)))
        if copy.family == socket.AF_INET and copy.getsockname() == peer:
            return copy
        copy.close()
    raise AssertionError(f"no socket of this process is {peer}")


def options_of(link: lt.Link[str], listener: socket.socket) -> tuple[bool, int | None]:
    """Whether small pieces are sent at once, and after how many seconds of silence the system asks."""
    with link.sync:
        accepted, peer = listener.accept()
        with accepted, links_socket(peer) as copy:
            asks = copy.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            silence = copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
            nodelay = copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    return bool(nodelay), silence if asks else None


def test_small_pieces_leave_at_once_and_the_system_asks_after_half_a_minute(listener: socket.socket) -> None:
    assert options_of(lt.tcp(*listener.getsockname()), listener) == (True, 30)


def test_both_can_be_chosen(listener: socket.socket) -> None:
    host, port = listener.getsockname()
    assert options_of(lt.tcp(host, port, nodelay=False, tcp_keepalive=7), listener) == (False, 7)
    assert options_of(lt.tcp(host, port, tcp_keepalive=None), listener) == (True, None)
    url = f"tcp://{host}:{port}?nodelay=false&tcp_keepalive=none"
    link: lt.Link[str] = lt.link(url)
    assert link.url == url
    assert options_of(link, listener) == (False, None)
    assert lt.link(f"tcp://{host}:{port}?tcp_keepalive=7.5").url == f"tcp://{host}:{port}?tcp_keepalive=7.5"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"nodelay": 1}, TypeError),
        ({"nodelay": None}, TypeError),
        ({"tcp_keepalive": 0}, ValueError),
        ({"tcp_keepalive": 0.5}, ValueError),
        ({"tcp_keepalive": 40_000}, ValueError),
        ({"tcp_keepalive": float("inf")}, ValueError),
        ({"tcp_keepalive": True}, TypeError),
        ({"tcp_keepalive": "30"}, TypeError),
    ],
)
def test_wrong_ones_are_errors_at_the_call(arguments: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(arguments))):
        lt.tcp("localhost", 5025, **arguments)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="tcp_keepalive"):
        lt.link("tcp://localhost:5025?tcp_keepalive=often")


async def test_the_output_ends_and_replies_still_come(listener: socket.socket) -> None:
    async with lt.tcp(*listener.getsockname()) as link:
        instrument, _ = listener.accept()
        with instrument:
            instrument.settimeout(20)
            await link.send("all")
            await link.write_eof()
            heard = b""
            while piece := instrument.recv(1000):
                heard += piece
            assert heard == b"all\n"
            instrument.sendall(b"first\n")
            assert await link.receive() == "first"
            instrument.sendall(b"second\n")
            assert await link.receive() == "second"


async def test_a_socket_has_no_lines() -> None:
    with TcpInstrument() as instrument:
        async with lt.tcp(instrument.host, instrument.port) as link:
            with pytest.raises(lt.Unsupported, match="lines: this is no serial line"):
                await link.lines()
            with pytest.raises(lt.Unsupported, match="send_break"):
                await link.send_break(0.01)
