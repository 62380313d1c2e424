"""Serial lines below messages: other settings in mid-session, lines, break, low latency, RS-485, on a pseudo-terminal.

It has no break, no modem lines, no parity, no driver that waits and no wires to share: that each is refused by name, or
left out with a warning, is all that it can show. What a UART does with them needs one.
"""

from __future__ import annotations

import os
import pickle
import termios

import pytest

import labtether as lt
from support import PtyInstrument
from support.logs import Told


def echo(command: bytes) -> bytes:
    return b"<" + command + b">\n"


def modes(port: str) -> tuple[int, bool]:
    """The line's speed, as termios names it, and whether characters control the flow."""
    look = os.open(port, os.O_RDWR | os.O_NOCTTY)
    try:
        found = termios.tcgetattr(look)
    finally:
        os.close(look)
    return found[5], bool(found[0] & termios.IXON)


async def test_settings_change_while_it_talks(told: Told) -> None:
    with PtyInstrument(echo) as instrument:
        async with lt.serial(instrument.port, exclusive=False) as link:
            assert await link.query("S") == "<S>"
            await link.configure(baudrate=115200)
            assert modes(instrument.port) == (termios.B115200, False)
            await link.configure(xonxoff=True)
            assert modes(instrument.port) == (termios.B115200, True)
            assert await link.query("S") == "<S>"
            assert not told.records
            await link.configure(parity="E", bytesize=7)
            assert await link.query("S") == "<S>"
    told.wait_for("parity='E' is left out: a pseudo-terminal has no parity")
    told.wait_for("bytesize=7 is left out")


async def test_what_it_cannot_do_is_named_and_the_link_goes_on() -> None:
    with PtyInstrument(echo) as instrument:
        async with lt.serial(instrument.port) as link:
            with pytest.raises(lt.Unsupported, match="dtr: a pseudo-terminal has no modem lines"):
                await link.set_lines(dtr=False, rts=False)
            with pytest.raises(lt.Unsupported, match="rts: a pseudo-terminal"):
                await link.set_lines(rts=True)
            with pytest.raises(lt.Unsupported, match="lines: a pseudo-terminal"):
                await link.lines()
            with pytest.raises(lt.Unsupported, match="break: a pseudo-terminal has none"):
                await link.send_break(0.01)
            with pytest.raises(lt.Unsupported, match="write_eof: a serial line"):
                await link.write_eof()
            assert await link.query("S") == "<S>"


async def test_a_line_that_hangs_up_loses_its_controls() -> None:
    with PtyInstrument(echo) as instrument:
        async with lt.serial(instrument.port) as link:
            instrument.unplug()
            with pytest.raises(lt.LinkLost):
                await link.configure(baudrate=19200)


async def test_nothing_is_to_be_hurried_on_a_pseudo_terminal(told: Told) -> None:
    with PtyInstrument(echo) as instrument:
        async with lt.serial(instrument.port, low_latency=True) as link:
            assert await link.query("S") == "<S>"
    assert told.wait_for("low_latency=True is left out").levelname == "WARNING"


async def test_wires_that_are_not_there_cannot_be_shared() -> None:
    with PtyInstrument(echo) as instrument:
        link = lt.serial(instrument.port, rs485=lt.Rs485())
        with pytest.raises(lt.OpenFailed, match="rs485: a pseudo-terminal has no wires to share") as caught:
            await link.setup()
        assert caught.value.kind == "unsupported"
        # Nothing of it stays behind.
        async with lt.serial(instrument.port) as link:
            assert await link.query("S") == "<S>"


def test_a_url_says_what_numbers_and_words_can() -> None:
    link: lt.Link[str] = lt.link("serial:///dev/ttyUSB0?low_latency=true&rs485=yes")
    assert link.url == "serial:///dev/ttyUSB0?baudrate=9600&low_latency=true&rs485=true"
    assert lt.link("serial:///dev/ttyUSB0?rs485=false").url == "serial:///dev/ttyUSB0?baudrate=9600"
    # A server's port has neither: they are between a driver and this machine.
    for setting in ("low_latency", "rs485"):
        with pytest.raises(ValueError, match=f"no setting '{setting}'"):
            lt.link(f"rfc2217://localhost:2217?{setting}=true")


def test_wrong_ones_are_errors_at_the_call() -> None:
    for delay in (-0.1, 61, 0.0004, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="delay_before_send"):
            lt.Rs485(delay_before_send=delay)
    with pytest.raises(TypeError, match="delay_after_send"):
        lt.Rs485(delay_after_send="2")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="loopback"):
        lt.Rs485(loopback=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="rs485 is Rs485"):
        lt.serial("/dev/ttyUSB0", rs485=True)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="low_latency is a bool"):
        lt.serial("/dev/ttyUSB0", low_latency=1)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="both move RTS"):
        lt.serial("/dev/ttyUSB0", rtscts=True, rs485=lt.Rs485())


def test_it_is_a_value() -> None:
    shared = lt.Rs485(rts_on_send=False, rts_after_send=True, delay_before_send=0.001)
    assert pickle.loads(pickle.dumps(shared)) == shared
    assert hash(shared) == hash(lt.Rs485(False, True, 0.001))
    with pytest.raises(AttributeError):
        shared.loopback = True  # type: ignore[misc]
