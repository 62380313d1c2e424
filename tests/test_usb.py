"""USB links, as far as they go where there is no USB: making them, and not opening. tests/usb.rs has more."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import labtether as lt
from support import TcpInstrument

NOT_THERE: tuple[int, int] = (0x1209, 0x7E57)


def kernel_threads() -> list[str]:
    return [task.joinpath("comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]


async def test_a_device_that_is_not_there_is_missing_and_starts_nothing() -> None:
    link = lt.usb(*NOT_THERE, "A1", 2, name="pump")
    with pytest.raises(lt.OpenFailed) as caught:
        await link.setup()
    error = caught.value
    assert (error.kind, error.link, link.state) == ("missing", "pump", "closed")
    assert "cannot open usb:1209:7e57:A1: it is not plugged in; " in str(error)
    # nusb's own thread comes with the first device that is opened.
    assert "nusb-events" not in kernel_threads()
    await link.stop()


def test_the_blocking_face_says_the_same() -> None:
    with pytest.raises(lt.OpenFailed, match="it is not plugged in"), lt.usb(*NOT_THERE).sync:
        pytest.fail("it was opened")


def test_packets_are_bytes_unless_an_encoding_is_given() -> None:
    assert lt.Packets() == lt.Packets()
    assert lt.Packets() != lt.Packets(encoding="ascii")
    assert repr(lt.Packets(encoding="ascii")) == "Packets(encoding='ascii')"
    assert lt.Packets().encode(b"*IDN?") == b"*IDN?"
    buffer = bytearray(b"\0\0\0\3one\0\0\0\0\0\0\0\5half")
    assert [lt.Packets().take(buffer) for _ in range(3)] == [b"one", b"", None]
    assert buffer == b"\0\0\0\5half"
    with pytest.raises(ValueError, match="has no bytes"):
        lt.Packets().encode(b"")
    refused = bytearray(b"\xff\xff\xff\xff\0\0\0\1a")
    with pytest.raises(lt.FrameError, match="the device refused it"):
        lt.Packets().take(refused)
    assert lt.Packets().take(refused) == b"a"


async def test_links_without_packets_take_none() -> None:
    makers: list[Callable[[], Any]] = [
        lambda: lt.tcp("h", 1, framing=lt.Packets()),
        lambda: lt.serial("x", framing=lt.Packets()),
        lambda: lt.rfc2217("h", 1, framing=lt.Packets()),
        lambda: lt.link("sim://balance", framing=lt.Packets()),
    ]
    for make in makers:
        with pytest.raises(ValueError, match=re.escape("Packets are for links that have packets: lt.usb")):
            make()
    with TcpInstrument(lambda command: command + b"\n") as instrument:
        async with lt.tcp(instrument.host, instrument.port) as link:
            with pytest.raises(ValueError, match="no framing= changes that"):
                await link.query("S", framing=lt.Packets())
            assert await link.query("S") == "S"
    packets, stream = lt.usb(*NOT_THERE), lt.usb(*NOT_THERE, framing="\r\n")
    with pytest.raises(ValueError, match="no framing= changes that"):
        await packets.query(b"S", framing=lt.Fixed(3))
    with pytest.raises(ValueError, match="no framing= changes that"):
        await stream.query("S", framing=lt.Packets())
    with pytest.raises(lt.LinkClosed):
        await stream.query("S", framing=lt.Fixed(3))
    with pytest.raises(TypeError, match="nothing here encodes the str"):
        await packets.query("S")


@pytest.mark.parametrize(
    ("call", "kind", "why"),
    [
        (lambda: lt.usb(0x10000, 1), ValueError, "vid is between 0 and 0xffff"),
        (lambda: lt.usb("1209", 1), TypeError, "vid is an int"),  # type: ignore[call-overload]
        (lambda: lt.usb(None, 1), TypeError, "vid is an int"),  # type: ignore[call-overload]
        (lambda: lt.usb(1, -1), ValueError, "pid is between 0 and 0xffff"),
        (lambda: lt.usb(1, 2, ""), ValueError, "serial_number is empty"),
        (lambda: lt.usb(1, 2, 3), TypeError, "serial_number is a str or None"),  # type: ignore[call-overload]
        (lambda: lt.usb(1, 2, interface=256), ValueError, "interface is between 0 and 0xff"),
        (lambda: lt.usb(1, 2, interface=None), TypeError, "interface is an int"),  # type: ignore[call-overload]
        (lambda: lt.usb(1, 2, read_endpoint=2), ValueError, "read_endpoint is between 0x81 and 0x8f, not 0x02"),
        (lambda: lt.usb(1, 2, read_endpoint=0x80), ValueError, "read_endpoint is between"),
        (lambda: lt.usb(1, 2, read_endpoint=0x91), ValueError, "read_endpoint is between"),
        (lambda: lt.usb(1, 2, write_endpoint=0x81), ValueError, "write_endpoint is between 0x01 and 0x0f, not 0x81"),
        (lambda: lt.usb(1, 2, write_endpoint="1"), TypeError, "write_endpoint is an int"),  # type: ignore[call-overload]
        (lambda: lt.usb(1, 2, transfer_size=0), ValueError, "transfer_size is at least 1"),
        (lambda: lt.usb(1, 2, transfer_size=1 << 25), ValueError, "transfer_size is at most"),
        (lambda: lt.usb(1, 2, zero_packet=1), TypeError, "zero_packet is a bool"),  # type: ignore[call-overload]
        (lambda: lt.usb(1, 2, char_delay=0.1), ValueError, "a packet is sent whole"),
        (lambda: lt.usb(1, 2, echo=True), ValueError, "packets are not echoed byte by byte"),
        (lambda: lt.usb(1, 2, baudrate=9600), TypeError, "no option 'baudrate'"),  # type: ignore[call-overload]
        (lambda: lt.usb(1, 2, framing=3), TypeError, "framing is Lines"),  # type: ignore[call-overload]
        (lambda: lt.Packets(encoding="no such"), ValueError, "there is no encoding"),
    ],
)
def test_bad_input_is_named_at_the_call(call: Callable[[], Any], kind: type[Exception], why: str) -> None:
    with pytest.raises(kind, match=re.escape(why)):
        call()


def test_a_link_says_what_it_is() -> None:
    link = lt.usb(0x1209, 0x7E57, "A1", 2, read_endpoint=0x82, write_endpoint=0x01)
    assert (link.name, link.url) == ("usb:1209:7e57:A1", "usb:1209:7e57:A1")
    assert "usb:1209:7e57:A1 interface 2 closed" in repr(link)
